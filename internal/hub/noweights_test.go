package hub

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestNoWeightsWanted downloads what a tokenizer needs, and what it needs is there offline.
func TestNoWeightsWanted(t *testing.T) {
	h := newHub(t)
	o := h.options(t)
	o.NoWeights = true
	dir, err := Resolve(t.Context(), "org/name", o)
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(dir, "tokenizer.json"))
	require.NoFileExists(t, filepath.Join(dir, "model.safetensors"))
	o.Offline = true
	_, err = Resolve(t.Context(), "org/name", o)
	require.NoError(t, err)
	o.NoWeights = false
	_, err = Resolve(t.Context(), "org/name", o)
	require.ErrorContains(t, err, "the weights are missing")
}
