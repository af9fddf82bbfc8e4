package pipelines

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"stillhouse"
)

// The files that a config names for its answers are read before anything is asked, and are in the config that a run
// keeps: a run that goes on after one was changed is told so by its keys.
func TestFilesOfAnswers(t *testing.T) {
	rows := writeConfig(t, `{"prompt": "1+1?", "answer": "2"}`+"\n")
	schema := filepath.Join(t.TempDir(), "schema.json")
	text := strings.NewReplacer("rows.jsonl", rows, "test.jsonl", rows, "  samples: 4", "  samples: 4\n  response_format: {type: json_schema, json_schema: "+schema+"}\n"+
		"  tools: [{type: function, function: {name: f, parameters: {type: object, properties: {b: {}, a: {}}}}}]").Replace(wellFormed)
	c, err := Load(writeConfig(t, text))
	if err != nil {
		t.Fatal(err)
	}
	err = c.Check(context.Background())
	if err == nil || !strings.HasPrefix(err.Error(), "distill.response_format.json_schema: names a file that cannot be read") || stillhouse.KindOf(err) != stillhouse.Invalid {
		t.Errorf("a file that is not there: %v", err)
	}
	if err := os.WriteFile(schema, []byte(`{"type": "object", "properties": {"z": {}, "a": {"type": "numbr"}}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := c.Check(context.Background()); err == nil || !strings.HasPrefix(err.Error(), "distill.response_format.json_schema: is not a JSON schema: at \"/properties/a/type\": ") {
		t.Errorf("a file that is no schema: %v", err)
	}
	if err := os.WriteFile(schema, []byte(`{"type": "object", "properties": {"z": {}, "a": {"type": "number"}}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if c, err = Load(writeConfig(t, text)); err != nil {
		t.Fatal(err)
	}
	c.Check(context.Background()) // its error is that there is no student here
	resolved, err := c.Resolved()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(resolved), schema) || strings.Index(string(resolved), "z: {}") > strings.Index(string(resolved), "type: number") {
		t.Errorf("the schema is not in its order in\n%s", resolved)
	}
	again, err := Load(writeConfig(t, string(resolved)))
	if err != nil {
		t.Fatalf("%v in\n%s", err, resolved)
	}
	twice, err := again.Resolved()
	if err != nil || string(twice) != string(resolved) {
		t.Errorf("%v: written otherwise:\n%s\n%s", err, resolved, twice)
	}
}
