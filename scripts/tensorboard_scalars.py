"""What TensorBoard reads in a folder of event files: {"scalars": {TAG: [[STEP, VALUE], ...]}, "texts": [TAG, ...]}, as one JSON object.

    python scripts/tensorboard_scalars.py DIR
"""
import json
import sys

from tensorboard.backend.event_processing import event_accumulator

events = event_accumulator.EventAccumulator(sys.argv[1], size_guidance={event_accumulator.SCALARS: 0, event_accumulator.TENSORS: 0})
events.Reload()
tags = events.Tags()
scalars = {tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in tags["scalars"]}
for tag in tags["tensors"]:  # scalars of TensorFlow 2, and texts
    for e in events.Tensors(tag):
        if e.tensor_proto.float_val:
            scalars.setdefault(tag, []).append([e.step, e.tensor_proto.float_val[0]])
json.dump({"scalars": scalars, "texts": [t for t in tags["tensors"] if t not in scalars]}, sys.stdout)
