package ifd

// In: an instruction with its input, and an answer, as plain text. Out: the answer's tokens after the text before it, and
// alone. A pair has no score when the answer is empty, is one token, or begins where the row is cut.

import "strings"

// An Encoder turns text into tokens, without adding special ones.
type Encoder interface {
	Encode(text string) []int32
}

// Superfiltering is the definition of the paper's published code, with its corner cases: rows are cut to MaxLength; where
// the answer begins is the number of tokens of the text before its last occurrence, uncut; the answer alone is cut by what
// the prompt takes; its first token has nothing before it and is not scored.
type Superfiltering struct {
	Tokenizer Encoder
	MaxLength int // tokens; 0 is 1024
}

var _ Variant = Superfiltering{}

// Plan implements [Variant].
func (s Superfiltering) Plan(p Pair) (Plan, error) {
	if p.Output == "" {
		return Plan{Missing: "the answer is empty"}, nil
	}
	most := s.MaxLength
	if most <= 0 {
		most = 1024
	}
	prompt := p.prompt()
	whole := prompt + p.Output
	start := len(s.Tokenizer.Encode(whole[:strings.LastIndex(whole, p.Output)]))
	before := len(cut(s.Tokenizer.Encode(prompt), most))
	return Plan{
		Conditional: labelled(cut(s.Tokenizer.Encode(whole), most), start),
		Alone:       labelled(cut(s.Tokenizer.Encode(p.Output), most-before+1), 0),
	}, nil
}

func cut(tokens []int32, most int) []int32 { return tokens[:min(most, len(tokens))] }
