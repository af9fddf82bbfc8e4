package pipelines

import (
	"context"
	"path/filepath"
	"strings"

	"stillhouse/internal/export"
	"stillhouse/internal/gguf"
	"stillhouse/internal/rundir"
	"stillhouse/internal/student"
)

// ExportModel writes a model, by its directory, its GGUF file or its name on the Hub, or the student of a run, in the
// format of another program. What was written is read back and compared before the directory is there.
func ExportModel(ctx context.Context, model, dir string, o export.Options) (*export.Report, error) {
	path := model
	if dir := filepath.Join(model, "student"); exists(filepath.Join(model, rundir.ConfigFile)) && (student.IsModel(dir) || student.IsAdapter(dir)) {
		path = dir
	}
	l, err := loadWeights(ctx, path)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return export.Write(ctx, export.Model{Name: modelName(model), Dir: l.dir, Weights: l.model, Tokenizer: l.tokenizer, TokenizerDir: l.tokens}, dir, o)
}

// modelName is what an export of a model is called: the last part of its path, for a run's student that of the run.
func modelName(model string) string {
	path := filepath.Clean(model)
	if abs, err := filepath.Abs(path); err == nil && exists(path) {
		path = abs
	}
	if run := filepath.Dir(path); filepath.Base(path) == "student" && exists(filepath.Join(run, rundir.ConfigFile)) {
		path = run
	}
	name := filepath.Base(path)
	if gguf.IsFile(name) {
		name = strings.TrimSuffix(name, filepath.Ext(name))
	}
	name, _, _ = strings.Cut(name, "@")
	return name
}
