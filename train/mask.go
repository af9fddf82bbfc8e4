package train

import (
	"context"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"stillhouse/internal/hub"
	"stillhouse/internal/student"
)

// A Mask is a row as the model is trained on it, token by token.
type Mask struct {
	Row     string      `json:"row"`
	Tokens  int         `json:"tokens"`
	Trained int         `json:"trained"`
	Cut     int         `json:"cut"`     // tokens that max_length cut off
	Dropped string      `json:"dropped"` // why the row is not trained at all; "" for one that is
	List    []MaskToken `json:"list"`
}

// A MaskToken is one token of a row.
type MaskToken struct {
	Place   int    `json:"place"` // counted from 0
	ID      int32  `json:"id"`
	Text    string `json:"text"`    // what it adds to the text; as in the vocabulary where it is a part of a character
	Trained bool   `json:"trained"` // its prediction is part of the loss
}

// Mask says of each token of an example whether it is trained. A row's first token never is: nothing predicts it.
func (e *Encoder) Mask(x Example) Mask {
	m := Mask{Row: x.Row, Tokens: len(x.Tokens), Trained: x.Trained(), Cut: x.Cut, List: make([]MaskToken, len(x.Tokens))}
	if !x.labelled() {
		m.Dropped = NoTrainedToken
	}
	for i, id := range x.Tokens {
		m.List[i] = MaskToken{Place: i, ID: id, Text: e.piece(x.Tokens, i), Trained: i > 0 && x.Labels[i] != student.Ignored}
	}
	return m
}

// MaskOf encodes a row as a training with these options does, and says of each token whether it is trained. The student's
// weights are not read.
func MaskOf(ctx context.Context, o Options, r Row) (*Mask, error) {
	dir, err := hub.Resolve(ctx, o.Student, hub.Options{})
	if err != nil {
		return nil, fmt.Errorf("student: %w", err)
	}
	tok, err := LoadTokenizer(dir, o)
	if err != nil {
		return nil, fmt.Errorf("student: %w", err)
	}
	defer tok.Close()
	enc, err := NewEncoder(o, tok)
	if err != nil {
		return nil, err
	}
	x, err := enc.Encode(r)
	if err != nil {
		return nil, err
	}
	m := enc.Mask(x)
	return &m, nil
}

// piece is what token i adds to the text of the one before it: some tokenizers leave out a space where a text begins.
func (e *Encoder) piece(ids []int32, i int) string {
	before := ids[max(0, i-1):i]
	piece, ok := strings.CutPrefix(e.tok.Decode(ids[max(0, i-1):i+1], false), e.tok.Decode(before, false))
	if !ok || piece == "" || strings.ContainsRune(piece, utf8.RuneError) {
		return e.tok.Token(ids[i]) // a part of a character
	}
	return piece
}

// head says which row it is and how much of it is trained.
func (m Mask) head() string {
	s := fmt.Sprintf("%s: %d of %d tokens are trained", m.Row, m.Trained, m.Tokens)
	if m.Cut > 0 {
		s += fmt.Sprintf(", %d were cut off by max_length", m.Cut)
	}
	if m.Dropped != "" {
		s += ", the row is dropped: " + m.Dropped
	}
	return s
}

// WriteText writes a line for each token: its place, its id, whether it is trained, its text.
func (m Mask) WriteText(w io.Writer, color bool) error {
	if _, err := fmt.Fprintln(w, m.head()); err != nil {
		return err
	}
	for _, t := range m.List {
		mark, shown := "      -", fmt.Sprintf("%q", t.Text)
		if t.Trained {
			mark = "trained"
		}
		line := fmt.Sprintf("%6d %7d  %s  %s", t.Place, t.ID, mark, shown)
		if _, err := fmt.Fprintln(w, t.paint(line, color)); err != nil {
			return err
		}
	}
	return nil
}

// paint is text in the colour of trained or of other tokens.
func (t MaskToken) paint(s string, color bool) string {
	switch {
	case !color:
		return s
	case t.Trained:
		return "\x1b[32m" + s + "\x1b[0m"
	default:
		return "\x1b[2m" + s + "\x1b[0m"
	}
}

// What is shown of a long row: so many tokens beside each place where the mask changes.
const (
	wholeMask = 400
	besides   = 40
)

// mask shows a row in running text, token from token by a bar: the trained tokens coloured, or in brackets where there
// are no colours.
func (ui UI) mask(m Mask) {
	how := "in brackets"
	if ui.Color {
		how = "in green"
	}
	ui.say("%s, shown %s", printable(m.head()), how)
	var line strings.Builder
	width := 0
	flush := func() {
		if width > 0 {
			ui.say("  %s", line.String())
		}
		line.Reset()
		width = 0
	}
	put := func(plain, painted string) {
		n := utf8.RuneCountInString(plain)
		if width+n > ui.Width-2 {
			flush()
		}
		line.WriteString(painted)
		width += n
	}
	hidden := 0
	for i, t := range m.List {
		if !m.shown(i) {
			hidden++
			continue
		}
		if hidden > 0 {
			flush()
			ui.say("  … %d tokens …", hidden)
			hidden = 0
		}
		piece := strings.ReplaceAll(printable(t.Text), "\n", "↵")
		if t.Trained && !ui.Color {
			piece = "[" + piece + "]"
		} else {
			piece += "│"
		}
		put(piece, t.paint(piece, ui.Color))
		if strings.HasSuffix(t.Text, "\n") {
			flush()
		}
	}
	flush()
}

// shown reports whether a token of a long row is shown.
func (m Mask) shown(i int) bool {
	n := len(m.List)
	if n <= wholeMask || i < besides || i >= n-besides {
		return true
	}
	for j := i - besides; j < i+besides; j++ {
		if m.List[j].Trained != m.List[j+1].Trained {
			return true
		}
	}
	return false
}
