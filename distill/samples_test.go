package distill

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"stillhouse/internal/options"
)

func TestSamplesAreReadInBothForms(t *testing.T) {
	for text, want := range map[string]struct {
		samples Samples
		again   string
	}{
		"8":                                 {Exactly(8), "8"},
		"{max: 16}":                         {Samples{Min: 1, Max: 16, Enough: 1}, "{min: 1, max: 16, enough: 1}"},
		"{min: 2, max: 16, enough: 3}":      {Samples{Min: 2, Max: 16, Enough: 3}, "{min: 2, max: 16, enough: 3}"},
		"\n  min: 4\n  max: 4\n  enough: 4": {Samples{Min: 4, Max: 4, Enough: 4}, "{min: 4, max: 4, enough: 4}"},
	} {
		var o struct {
			Samples Samples `yaml:"samples" json:"samples"`
		}
		var node yaml.Node
		require.NoError(t, yaml.Unmarshal([]byte("samples: "+text), &node))
		require.NoError(t, options.Decode(node.Content[0], &o), text)
		assert.Equal(t, want.samples, o.Samples)
		assert.NoError(t, o.Samples.validate())
		written, err := yaml.Marshal(o)
		require.NoError(t, err)
		assert.Equal(t, "samples: "+want.again+"\n", string(written))

		text, err := json.Marshal(o)
		require.NoError(t, err)
		back := o
		back.Samples = Samples{}
		require.NoError(t, json.Unmarshal(text, &back))
		assert.Equal(t, o, back)
	}
}

func TestSamplesThatCannotBe(t *testing.T) {
	for text, says := range map[string]string{
		"many":                         `line 1: samples: wants a whole number, or {min: 2, max: 16, enough: 1}, not "many"`,
		"1.5":                          "line 1: samples: wants a whole number",
		"[1, 2]":                       "line 1: samples: wants a whole number",
		"{min: 2, most: 3}":            `line 1: samples.most: is not a key`,
		"{max: many}":                  `line 1: samples.max: wants a whole number, not "many"`,
		"-1":                           "samples: is -1: it must be 1 to 1024",
		"1025":                         "samples: is 1025: it must be 1 to 1024",
		"{min: 2}":                     "samples.max: is missing",
		"{min: -2, max: 4}":            "samples.min: is -2: it must be 1 to 1024",
		"{min: 5, max: 4}":             "samples.max: is 4: it must be samples.min (5) to 1024",
		"{max: 4, enough: 5}":          "samples.enough: is 5: it must be 1 to samples.max (4)",
		"{min: 1, max: 4, enough: -1}": "samples.enough: is -1: it must be 1 to samples.max (4)",
	} {
		var o struct {
			Samples Samples `yaml:"samples"`
		}
		var node yaml.Node
		require.NoError(t, yaml.Unmarshal([]byte("samples: "+text), &node))
		err := options.Decode(node.Content[0], &o)
		if err == nil {
			err = o.Samples.validate()
		}
		require.ErrorContains(t, err, says, text)
	}
	var s Samples
	require.ErrorContains(t, json.Unmarshal([]byte(`{"most": 3}`), &s), "wants a whole number")
}
