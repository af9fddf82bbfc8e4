package train

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"

	"stillhouse/internal/student"
)

// A fingerprint says which training a checkpoint is of: two with the same one make the same student.
type fingerprint struct {
	Options map[string]any `json:"options"` // but the free ones
	Rows    string         `json:"rows"`    // ids and labels, in their order
	Eval    string         `json:"eval"`
	Base    string         `json:"base"` // the configuration and all weights, before the training
}

// freeKeys are the keys that may differ when a training goes on: they change nothing, or what they name is looked at itself.
var freeKeys = []string{
	"student", "init_adapter", "data", "eval_data", "questions", "save_strategy", "save_steps", "save_total_limit", "resume_from_checkpoint", "max_grad_norm_spike",
	"gradient_checkpointing", "pad_to_multiple_of", "report_to", "logging_dir", "metrics_address", "metrics_allow_remote", "ask_kwargs",
}

// fingerprint is that of a training that is about to begin.
func (g Training) fingerprint() (fingerprint, error) {
	all, err := decisive(g.Options)
	if err != nil {
		return fingerprint{}, err
	}
	return fingerprint{Options: all, Rows: rowsSum(g.Rows), Eval: rowsSum(g.Eval), Base: baseSum(g.Model)}, nil
}

// decisive are the options that decide what comes out, as JSON reads them.
func decisive(o Options) (map[string]any, error) {
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	var all map[string]any
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, err
	}
	for _, key := range freeKeys {
		delete(all, key)
	}
	return all, nil
}

// differs is an error that names what differs; nil when it is the same training. A key that the stored one has not, as
// it was written before there was such a key, had its default.
func (f fingerprint) differs(now fingerprint) error {
	var defaults Options
	defaults.EnsureDefaults()
	missing, err := decisive(defaults)
	if err != nil {
		return err
	}
	var all []string
	for _, key := range slices.Sorted(maps.Keys(now.Options)) {
		was, ok := f.Options[key]
		if !ok {
			was = missing[key]
		}
		if is := now.Options[key]; !reflect.DeepEqual(was, is) {
			all = append(all, fmt.Sprintf("train.%s: it has %s, the config has %s", key, inline(was), inline(is)))
		}
	}
	for _, c := range []struct{ was, is, say string }{
		{f.Rows, now.Rows, "the rows to train on are others, or in another order"},
		{f.Eval, now.Eval, "the rows to evaluate on are others, or in another order"},
		{f.Base, now.Base, "train.student: the weights that the training begins with are others"},
	} {
		if c.was != c.is {
			all = append(all, c.say)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return errors.New(strings.Join(all, "; "))
}

func inline(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(text)
}

// rowsSum sums up what a training sees of its rows.
func rowsSum(rows []Example) string {
	h := crc32.New(castagnoli)
	second := crc32.NewIEEE()
	var b []byte
	for _, r := range rows {
		b = binary.LittleEndian.AppendUint64(b[:0], uint64(len(r.Tokens)))
		for _, ids := range [][]int32{r.Tokens, r.Labels} {
			for _, id := range ids {
				b = binary.LittleEndian.AppendUint32(b, uint32(id))
			}
		}
		h.Write(b)
		second.Write(b)
	}
	return fmt.Sprintf("%d rows, %08x%08x", len(rows), h.Sum32(), second.Sum32())
}

// baseSum sums up a model, each parameter by itself so that all cores work.
func baseSum(m *student.Model) string {
	params := m.Params
	if m.Adapter != nil {
		params = slices.Concat(params, m.Adapter.Params)
	}
	sums := make([]uint32, len(params))
	var all sync.WaitGroup
	for i, p := range params {
		all.Go(func() {
			var b [4096]byte
			for from := 0; from < len(p.Data); from += len(b) / 4 {
				part := p.Data[from:min(len(p.Data), from+len(b)/4)]
				for j, v := range part {
					binary.LittleEndian.PutUint32(b[4*j:], math.Float32bits(v))
				}
				sums[i] = crc32.Update(sums[i], castagnoli, b[:4*len(part)])
			}
		})
	}
	all.Wait()
	h := crc32.New(castagnoli)
	fmt.Fprintf(h, "%+v", m.Config)
	for i, p := range params {
		fmt.Fprint(h, p.Name, p.Shape, sums[i])
	}
	last := uint32(0)
	for _, s := range sums {
		last = last*31 + s
	}
	return fmt.Sprintf("%d parameters, %08x%08x", len(params), h.Sum32(), last)
}
