package student

import (
	"fmt"
	"io"
	"path/filepath"

	"stillhouse/internal/hub"
)

// writeWeights writes model.safetensors or, where the weights take up more than limit bytes (0 for any number), shards
// of at most limit bytes and model.safetensors.index.json, which names the shard of each tensor. Parameters are in the
// order of the layers; one larger than limit has a shard of its own. The names are those of transformers.
func writeWeights(params []*Param, dir, dtype string, limit int64) error {
	size := int64(2)
	if dtype == "F32" {
		size = 4
	}
	shards, total := [][]hub.FloatTensor{nil}, int64(0)
	room := limit
	for _, p := range params {
		bytes := size * int64(p.Size())
		last := len(shards) - 1
		if limit > 0 && bytes > room && len(shards[last]) > 0 {
			shards, last, room = append(shards, nil), last+1, limit
		}
		shards[last] = append(shards[last], hub.FloatTensor{Name: p.Name, Shape: p.Shape, Data: p.Data})
		room, total = room-bytes, total+bytes
	}
	files := make(map[string]string, len(params))
	for i, tensors := range shards {
		name := "model.safetensors"
		if len(shards) > 1 {
			name = fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(shards))
		}
		if err := writeFile(filepath.Join(dir, name), func(w io.Writer) error { return hub.WriteSafetensors(w, dtype, tensors) }); err != nil {
			return err
		}
		for _, t := range tensors {
			files[t.Name] = name
		}
	}
	if len(shards) == 1 {
		return nil
	}
	index, err := indent(map[string]any{"metadata": map[string]any{"total_parameters": total / size, "total_size": total}, "weight_map": files})
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, "model.safetensors.index.json"), func(w io.Writer) error { _, err := w.Write(index); return err })
}
