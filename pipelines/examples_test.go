package pipelines

import (
	"context"
	"path/filepath"
	"testing"

	"stillhouse/internal/testkit"
)

// TestExamples loads every config of examples/, checks it as a run would, and runs those whose teacher is an endpoint against
// a scripted one, up to the kept rows, and those that need none.
func TestExamples(t *testing.T) {
	t.Chdir("..")
	t.Setenv("OPENAI_API_KEY", "none-that-is-real")
	paths, err := filepath.Glob("examples/*.yaml")
	if err != nil || len(paths) < 7 {
		t.Fatal(paths, err)
	}
	ran := 0
	for _, path := range paths {
		t.Run(path, func(t *testing.T) {
			if path == "examples/course.yaml" {
				if _, err := LoadTraining(path); err != nil {
					t.Error(err)
				}
				return
			}
			c, err := Load(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Check(context.Background()); err != nil {
				t.Fatal(err)
			}
			if c.Candidates != nil {
				r, _, err := runIn(t, c, t.TempDir(), "")
				if err != nil || r.Ledger["filter"].Kept == 0 || r.Requests != nil {
					t.Errorf("%+v, %v", r, err)
				}
				ran++
				return
			}
			if c.Distill.Endpoint == "embedded" { // make demo runs it
				return
			}
			teacher := testkit.StartTeacher(t, &testkit.Teacher{Batches: &testkit.Batches{}, Answer: func(c testkit.Call) testkit.Choice {
				if a := writesTasks(c); a.Tokens == 50 {
					return a
				}
				return testkit.Choice{Content: "It is 1.\n#### 1", Tokens: 9}
			}})
			c.Distill.Endpoint, c.Distill.Store, c.Train, c.Eval = teacher.URL(), filepath.Join(t.TempDir(), "store.db"), nil, nil
			c.Curate.Select.MinReward = nil
			c.Filter = nil // the scripted answers are alike
			if _, _, err := runIn(t, c, t.TempDir(), ""); err != nil {
				t.Error(err)
			}
			if teacher.Requests() == 0 {
				t.Error("nothing was asked")
			}
			ran++
		})
	}
	if ran < 5 {
		t.Errorf("only %d examples were run", ran)
	}
}
