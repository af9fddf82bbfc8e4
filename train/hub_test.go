package train

import (
	"context"
	"crypto/sha1"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"stillhouse"
	"stillhouse/internal/student"
)

// hubOf serves directories as the Hub does, by name, and returns the paths that were asked for.
func hubOf(t *testing.T, models map[string]string) *[]string {
	t.Helper()
	const commit = "00112233445566778899aabbccddeeff00112233"
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.Path)
		for name, dir := range models {
			if r.URL.Path == "/api/models/"+name+"/revision/main" {
				entries, err := os.ReadDir(dir)
				if err != nil {
					t.Error(err)
				}
				list := []map[string]string{}
				for _, e := range entries {
					list = append(list, map[string]string{"rfilename": e.Name()})
				}
				_ = json.NewEncoder(w).Encode(map[string]any{"sha": commit, "siblings": list})
				return
			}
			if file, ok := strings.CutPrefix(r.URL.Path, "/"+name+"/resolve/"+commit+"/"); ok {
				text, err := os.ReadFile(filepath.Join(dir, file))
				if err != nil {
					t.Error(err)
				}
				w.Header().Set("ETag", fmt.Sprintf(`"%x"`, sha1.Sum(append(fmt.Appendf(nil, "blob %d\x00", len(text)), text...))))
				w.Header().Set("Content-Length", fmt.Sprint(len(text)))
				_, _ = w.Write(text)
				return
			}
		}
		w.Header().Set("X-Error-Code", "RepoNotFound")
		w.WriteHeader(http.StatusNotFound)
	}))
	t.Cleanup(server.Close)
	for _, name := range []string{"HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"} {
		t.Setenv(name, "")
	}
	t.Setenv("HF_ENDPOINT", server.URL)
	t.Setenv("HF_HOME", t.TempDir())
	t.Setenv("HF_HUB_CACHE", t.TempDir())
	return &asked
}

// An adapter to begin with can be a name on the Hub: it is downloaded once, is the one that a directory would give, and
// a plan finds it too.
func TestInitAdapterFromHub(t *testing.T) {
	const dir = golden + "sft/g-lora/adapter_init"
	asked := hubOf(t, map[string]string{"someone/adapter": dir, "someone/model": golden + "models/tiny-llama"})
	o := pasted(t, "student: "+golden+"models/tiny-llama\npeft: {init_adapter: someone/adapter}\n")
	s, err := Load(context.Background(), o, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Tokenizer.Close()
	if !slices.Contains(*asked, "GET /someone/adapter/resolve/00112233445566778899aabbccddeeff00112233/adapter_model.safetensors") {
		t.Errorf("asked for: %q", *asked)
	}
	want, err := student.LoadAdapter(dir)
	if err == nil {
		err = want.Fits(s.Model)
	}
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range want.Params {
		if q := s.Model.Adapter.Params[i]; p.Name != q.Name || !slices.Equal(p.Data, q.Data) {
			t.Errorf("%s is not as in the directory", p.Name)
		}
	}
	before := len(*asked)
	o.Data.Path = golden + "sft/data/pc-20.jsonl"
	if f, err := PlanTraining(context.Background(), o, PlanOptions{}); err != nil || f.GradientsMiB != 0 || f.Updates == 0 {
		t.Errorf("%+v, %v", f, err)
	}
	if len(*asked) != before+1 {
		t.Errorf("it was downloaded again: %q", (*asked)[before:])
	}
	for name, say := range map[string]string{
		"someone/model":  "init_adapter: someone/model is no adapter: it has no adapter_config.json",
		"someone/nobody": "there is no someone/nobody on",
		"./nowhere":      "there is no directory ./nowhere",
	} {
		o.PEFT.InitAdapter, o.InitAdapter = name, ""
		if _, err := Load(context.Background(), o, nil); err == nil || !strings.Contains(err.Error(), "peft: init_adapter: ") || !strings.Contains(err.Error(), say) || stillhouse.KindOf(err) != stillhouse.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}
