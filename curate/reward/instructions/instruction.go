// Package instructions tells whether a text follows the instructions of IFEval (Zhou et al. 2023): 25 checks of keywords,
// lengths, formats, case and language, which hold or do not.
//
// They say what the reference code says, as the Python package lm-eval 0.4.13 carries it: goldens in testdata/parity. Its
// sentences are Punkt's and its words Treebank's, as in NLTK; its languages are langdetect's. Keywords and section names
// are regular expressions there; they are RE2's here, so that none takes more than linear time, and one that is not RE2's
// is an error. Arguments that are missing, for which the reference draws random ones, are an error too.
package instructions

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"unicode"

	"stillhouse/curate/reward/language"
)

// An Instruction is one instruction of a prompt, ready to be checked. It may be asked from several goroutines at once.
type Instruction struct {
	ID      string
	follows check
}

// A check says whether a text follows. The error says why it cannot be told.
type check func(text string) (bool, error)

// kwargs are the arguments of an instruction.
type kwargs map[string]any

// Load reads the models of sentences and languages, which the first check that needs them would read otherwise.
func Load() error {
	_, err1 := cutter()
	_, err2 := language.Languages()
	return errors.Join(err1, err2)
}

// IDs are the names of all instructions, in order.
func IDs() []string { return slices.Sorted(maps.Keys(kinds)) }

// New reads an instruction: its name, such as keywords:existence, and its arguments, of which those that it has no use for
// and those that are null are passed over.
func New(id string, arguments map[string]any) (Instruction, error) {
	kind, ok := kinds[id]
	if !ok {
		return Instruction{}, fmt.Errorf("there is no such instruction; there are %s and so on", strings.Join(IDs()[:3], ", "))
	}
	follows, err := kind(kwargs(arguments))
	if err != nil {
		return Instruction{}, err
	}
	return Instruction{ID: id, follows: follows}, nil
}

// Follows reports whether a text follows the instruction: as it is, or, loosely, with its first line, its last line or its
// stars left out. An empty text follows nothing.
func (i Instruction) Follows(text string, loose bool) (bool, error) {
	texts := []string{text}
	if loose {
		texts = variants(text)
	}
	for _, t := range texts {
		if trim(t) == "" {
			continue
		}
		if ok, err := i.follows(t); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// variants are the texts that loose checks look at, each once.
func variants(text string) (out []string) {
	_, rest, _ := strings.Cut(text, "\n")
	head, middle := "", ""
	if at := strings.LastIndexByte(text, '\n'); at >= 0 {
		head = text[:at]
	}
	if at := strings.LastIndexByte(rest, '\n'); at >= 0 {
		middle = rest[:at]
	}
	for _, t := range []string{text, trim(rest), trim(head), trim(middle)} {
		for _, t := range []string{t, strings.ReplaceAll(t, "*", "")} {
			if !slices.Contains(out, t) {
				out = append(out, t)
			}
		}
	}
	return out
}

// space reports whether Python takes r for white space.
func space(r rune) bool { return unicode.IsSpace(r) || 0x1C <= r && r <= 0x1F }

func trim(s string) string { return strings.TrimFunc(s, space) }

// text is an argument that is a text.
func (k kwargs) text(name string) (string, error) {
	if s, ok := k[name].(string); ok && s != "" {
		return s, nil
	}
	return "", fmt.Errorf("its argument %s is %v: it must be a text", name, k[name])
}

// texts is an argument that is a list of texts.
func (k kwargs) texts(name string) (out []string, err error) {
	list, _ := k[name].([]any)
	for _, v := range list {
		s, ok := v.(string)
		if !ok {
			return nil, fmt.Errorf("its argument %s holds %v: it must be a list of texts", name, v)
		}
		out = append(out, s)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("its argument %s is %v: it must be a list of texts", name, k[name])
	}
	return out, nil
}

// count is an argument that is a number of things.
func (k kwargs) count(name string) (int, error) {
	f, ok := k[name].(float64)
	if !ok || f != math.Trunc(f) || f < 0 || f > 1e9 {
		return 0, fmt.Errorf("its argument %s is %v: it must be a whole number", name, k[name])
	}
	return int(f), nil
}

// relation is a comparison with an argument: "at least" or "less than" so many.
func (k kwargs) relation(relation, number string) (func(n int) bool, error) {
	limit, err := k.count(number)
	if err != nil {
		return nil, err
	}
	switch k[relation] {
	case "at least":
		return func(n int) bool { return n >= limit }, nil
	case "less than":
		return func(n int) bool { return n < limit }, nil
	}
	return nil, fmt.Errorf("its argument %s is %v: it must be \"at least\" or \"less than\"", relation, k[relation])
}
