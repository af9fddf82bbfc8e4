// Package export writes a model in the formats that other programs read, and proves that what was written is the model:
// every export is read back and its logits are compared before it gets its name.
//
//	export.go     from a model to a directory      probe.go      the fixed prompts and the comparison
//	gguf.go       a GGUF file and its Modelfile    modelfile.go  the chat template in Ollama's form
//	adapter.go    a PEFT adapter, or a model with its adapter merged
package export

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"stillhouse"
	"stillhouse/internal/chat"
	"stillhouse/internal/student"
)

// ReportFile is the name of the report beside an export.
const ReportFile = "export.json"

// The formats.
const (
	Safetensors = "safetensors" // a Hugging Face directory
	GGUF        = "gguf"        // a GGUF file and a Modelfile
	Merged      = "merged"      // a Hugging Face directory of an adapter's base with the adapter merged
	PEFT        = "peft"        // an adapter as PEFT's directory
)

// formats are their names.
var formats = []string{Safetensors, GGUF, Merged, PEFT}

// defaultShard is the size above which safetensors are split into shards, in bytes.
const defaultShard = 5e9

// Options say what is written.
type Options struct {
	Format       string // safetensors, gguf, merged or peft; "" is safetensors
	Dtype        string // f32, f16 or bf16, for gguf also q8_0 and q4_0, for peft f32; "" is that of the checkpoint
	MaxShardSize int64  // bytes; larger weights are split into shards; 0 is 5 GB

	written func(dir string) error // called before what was written is read back; tests set it
}

// dtypes are the names of the types in each format.
var dtypes = map[string][]string{
	Safetensors: {"f32", "f16", "bf16"}, GGUF: {"f32", "f16", "bf16", "q8_0", "q4_0"}, Merged: {"f32", "f16", "bf16"}, PEFT: {"f32"},
}

var long = map[string]string{"f32": "float32", "f16": "float16", "bf16": "bfloat16"}

// EnsureDefaults fills in what is empty; dtype is that of the checkpoint.
func (o *Options) EnsureDefaults(dtype string) {
	if o.Format == "" {
		o.Format = Safetensors
	}
	if o.Dtype == "" {
		o.Dtype = "f32"
		for short, name := range long {
			if name == dtype && o.Format != PEFT {
				o.Dtype = short
			}
		}
	}
	if o.MaxShardSize == 0 {
		o.MaxShardSize = defaultShard
	}
}

// Validate names the first value that is wrong.
func (o Options) Validate() error {
	known, ok := dtypes[o.Format]
	if !ok {
		return stillhouse.Invalidf("format %q is not written: %s are", o.Format, strings.Join(formats, ", "))
	}
	for _, d := range known {
		if d == o.Dtype {
			if o.MaxShardSize < 1 {
				return stillhouse.Invalidf("max-shard-size is %d: it must be 1 byte or more", o.MaxShardSize)
			}
			return nil
		}
	}
	return stillhouse.Invalidf("dtype %q is not written as %s: of f32, f16, bf16, q8_0 and q4_0, it can be %s", o.Dtype, o.Format, strings.Join(known, ", "))
}

// A Model is what is exported.
type Model struct {
	Name         string         // that it gets, such as demo
	Dir          string         // where it was read from, or the base of an adapter: a Hugging Face directory or a GGUF file
	TokenizerDir string         // where the tokenizer was read from; "" is Dir
	Weights      *student.Model // with its adapter attached, if it has one
	Tokenizer    *chat.Tokenizer
}

// A Report is what is known of an export; it is stored beside it.
type Report struct {
	Model      string      `json:"model"`
	Format     string      `json:"format"`
	Dtype      string      `json:"dtype"`
	Files      []File      `json:"files"`
	Comparison *Comparison `json:"read_back"`
	Notes      []string    `json:"notes,omitempty"` // what could not be carried over
}

// A File is one file of an export.
type File struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// Write exports a model to a new directory and reads it back. It takes the model's weights over: they are rounded to
// what was written, compared, and let go. Where the comparison, or anything else, fails, there is no directory.
func Write(ctx context.Context, m Model, dir string, o Options) (*Report, error) {
	if m.TokenizerDir == "" {
		m.TokenizerDir = m.Dir
	}
	o.EnsureDefaults(m.Weights.Config.Dtype)
	err := o.Validate()
	if adapter := o.Format == Merged || o.Format == PEFT; err == nil && adapter && m.Weights.Adapter == nil {
		err = stillhouse.Invalidf("format %s is for adapters, and this is none", o.Format)
	}
	if err != nil {
		return nil, fmt.Errorf("export %s: %w", m.Name, err)
	}
	r, err := write(ctx, m, filepath.Clean(dir), o)
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		err = stillhouse.Invalidf("the disk is full: free some space or name a folder on another disk; nothing was left in this one: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("export %s to %s: %w", m.Name, dir, err)
	}
	return r, nil
}

func write(ctx context.Context, m Model, dir string, o Options) (_ *Report, err error) {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return nil, stillhouse.Invalidf("there is something in it already: name a new folder")
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, stillhouse.Invalidf("it is no folder: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+".exporting-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil {
		return nil, err
	}
	r := &Report{Model: m.Name, Format: o.Format, Dtype: o.Dtype}
	c, err := newComparison(m)
	if err != nil {
		return nil, err
	}
	x := &copied{load: func() (*student.Model, error) { return student.Load(tmp) }, tokens: tmp, round: func() error { return roundFloats(m.Weights, long[o.Dtype]) }}
	if o.Format != PEFT {
		if err := merge(m.Weights); err != nil {
			return nil, err
		}
	}
	switch o.Format {
	case Safetensors, Merged:
		err = student.Save(m.Weights, tmp, student.SaveOptions{From: m.Dir, Tokenizer: m.TokenizerDir, Dtype: long[o.Dtype], MaxShardSize: o.MaxShardSize})
	case GGUF:
		err = writeGGUF(m, tmp, o, r, x)
	case PEFT:
		err = writeAdapter(m, tmp, r, x)
	}
	if err == nil && o.written != nil {
		err = o.written(tmp)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	if err := c.compare(ctx, m, x); err != nil {
		return nil, err
	}
	r.Comparison = c
	if r.Files, err = list(tmp); err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, err
	}
	err = writeFile(filepath.Join(tmp, ReportFile), func(w io.Writer) error { _, err := w.Write(append(text, '\n')); return err })
	if err = errors.Join(err, syncDir(tmp), ctx.Err()); err != nil {
		return nil, err
	}
	if err := os.Rename(tmp, dir); err != nil {
		return nil, err
	}
	return r, syncDir(filepath.Dir(dir))
}

// A copied is what was written of a model, to be read back.
type copied struct {
	load   func() (*student.Model, error)
	tokens string       // the path of its tokenizer
	round  func() error // rounds the model in memory to what was written
}

// list is the files of a directory with their sizes and sums.
func list(dir string) (files []File, err error) {
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		sum := sha256.New()
		n, err := io.Copy(sum, f)
		name, _ := filepath.Rel(dir, path) // path lies under dir
		files = append(files, File{filepath.ToSlash(name), n, hex.EncodeToString(sum.Sum(nil))})
		return err
	})
	return files, err
}

// writeFile writes a new file and waits until the disk has it.
func writeFile(path string, write func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	if err := errors.Join(write(f), f.Sync()); err != nil {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
