package pipelines

import (
	"context"
	"path/filepath"
	"strings"

	"stillhouse/internal/export"
	"stillhouse/internal/gguf"
	"stillhouse/internal/student"
)

// ExportModel writes a model, by its directory, its GGUF file or its name on the Hub, or the student of a run, in the
// format of another program. What was written is read back and compared before the directory is there.
func ExportModel(ctx context.Context, model, dir string, o export.Options) (*export.Report, error) {
	path := model
	if own := filepath.Join(model, "student"); !isStudent(model) && isStudent(own) {
		path = own
	}
	l, err := loadWeights(ctx, path)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return export.Write(ctx, export.Model{Name: modelName(model), Dir: l.dir, Weights: l.model, Tokenizer: l.tokenizer, TokenizerDir: l.tokens}, dir, o)
}

// isStudent says whether a directory is a model or an adapter.
func isStudent(dir string) bool { return student.IsModel(dir) || student.IsAdapter(dir) }

// modelName is what an export of a model is called: the last part of its path, for a run's student that of the run.
func modelName(model string) string {
	path := filepath.Clean(model)
	if abs, err := filepath.Abs(path); err == nil && exists(path) {
		path = abs
	}
	if filepath.Base(path) == "student" {
		path = filepath.Dir(path)
	}
	name := filepath.Base(path)
	if gguf.IsFile(name) {
		name = strings.TrimSuffix(name, filepath.Ext(name))
	}
	name, _, _ = strings.Cut(name, "@")
	return name
}
