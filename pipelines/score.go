package pipelines

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"math"
	"slices"
	"strings"

	"stillhouse"
	"stillhouse/curate"
	"stillhouse/curate/reward"
	"stillhouse/internal/options"
	"stillhouse/internal/rowfile"
)

// ScoreOptions say which reward scores which rows.
type ScoreOptions struct {
	Reward  string            // its kind
	Options string            // JSON object; empty for its defaults
	Path    string            // JSONL or Parquet
	Columns map[string]string // of the fields whose column is named otherwise; an empty name for the id numbers the rows
	Store   string            // the response store, for rewards whose scores are kept
	UI      UI
}

// A RowScore is what a reward says of a row: a line of the output.
type RowScore struct {
	ID       json.RawMessage `json:"id"`
	Verdict  string          `json:"verdict"`
	Score    *float64        `json:"score"` // null where there is none: a timeout, an error
	Evidence string          `json:"evidence"`
}

// At most so much of a file is in memory at a time, unless it is one row, or the rows of one prompt.
const (
	scoreRows  = 512
	scoreBytes = 32 << 20

	groupRows  = 10_000 // of one prompt
	groupBytes = 512 << 20
)

// toldBadRows is how many rows that could not be used are told one by one.
const toldBadRows = 20

// ScoreRows has one reward score the rows of a file and writes a [RowScore] for each as a line of JSON, in their order. A
// row that can't be used is told, with its place, and has no line; the error in the end counts these. Memory does not grow
// with the file, but for 8 bytes a prompt where a reward judges the rows of a prompt together.
func ScoreRows(ctx context.Context, o ScoreOptions, to io.Writer) (err error) {
	score, err := o.stage()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, score.Close()) }()
	s := &rowScorer{o: o, stage: score, columns: newScoreColumns(o.Columns), to: bufio.NewWriterSize(to, 1<<16), verdicts: map[string]int{}}
	traits, err := score.Traits()
	if err != nil {
		return err
	}
	if len(traits.Groups) > 0 {
		s.seen = map[uint64]bool{}
	}
	cache, end, err := scoreCache(ctx, score, o.Store)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	score.Use(cache)
	models := &askers{store: o.Store}
	score.AskThrough(models)
	if len(score.NeedsReference()) > 0 {
		if err := s.countReferences(ctx); err != nil {
			return err
		}
	}
	if err := s.all(ctx); err != nil {
		return errors.Join(err, s.to.Flush())
	}
	if err := s.to.Flush(); err != nil {
		return err
	}
	s.sum()
	models.tell(o.UI)
	if s.bad > 0 {
		return stillhouse.Invalidf("%d of %d rows of %s could not be used, and have no line in the output: put them right", s.bad, s.bad+s.scored, o.Path)
	}
	return nil
}

// stage is the reward, made of its name and its options.
func (o ScoreOptions) stage() (*curate.Score, error) {
	kinds := reward.Names()
	if o.Reward == "" {
		return nil, stillhouse.Invalidf("--reward is missing: name one of %s", strings.Join(kinds, ", "))
	}
	if !slices.Contains(kinds, o.Reward) {
		return nil, stillhouse.Invalidf("--reward %s: there is no such reward: %s", o.Reward, options.Nearest(o.Reward, kinds))
	}
	raw := json.RawMessage(`{}`)
	if strings.TrimSpace(o.Options) != "" {
		raw = json.RawMessage(o.Options)
		var object map[string]json.RawMessage
		if err := rowfile.Decode(raw, &object); err != nil || object == nil {
			return nil, stillhouse.Invalidf(`--options %s: it is not a JSON object, such as {"timeout": 10}`, o.Options)
		}
	}
	entry, err := json.Marshal(map[string]json.RawMessage{o.Reward: raw})
	if err != nil {
		return nil, err
	}
	s := &curate.Score{Rewards: make([]reward.Entry, 1)}
	if err := json.Unmarshal(entry, &s.Rewards[0]); err != nil {
		return nil, stillhouse.Invalidf("--options: %w", err)
	}
	one := 1.0
	s.Rewards[0].Weight = &one // there is nothing to weigh it against
	s.EnsureDefaults()
	return s, s.Validate()
}

// A rowScorer scores the rows of a file, some at a time.
type rowScorer struct {
	o       ScoreOptions
	stage   *curate.Score
	columns scoreColumns
	to      *bufio.Writer

	ids        []json.RawMessage // of the rows that wait, as they are written
	candidates []stillhouse.Candidate
	bytes      int
	seen       map[uint64]bool // hashes of the prompts so far; nil where rows are judged one by one
	seed       maphash.Seed

	scored, bad int
	verdicts    map[string]int
	total       float64
	finite      int
}

// countReferences counts the rows without a reference answer before any is scored.
func (s *rowScorer) countReferences(ctx context.Context) (err error) {
	column := s.columns.names["reference"]
	f, err := rowfile.Open(s.o.Path, column)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	all, none := 0, 0
	for {
		row, err := f.Next(ctx)
		var bad *rowfile.BadRow
		switch {
		case errors.Is(err, io.EOF):
			names, _ := f.Columns()
			switch {
			case all > 0 && none == all && !slices.Contains(names, column):
				return stillhouse.Invalidf("%s: there is no column %q, and reward %s compares with a reference answer: there are %s; name it as --column reference=NAME", s.o.Path, column, s.o.Reward, strings.Join(names, ", "))
			case all > 0 && none == all:
				return stillhouse.Invalidf("%s: column %q is empty in all of %d rows, and reward %s compares with it: name another as --column reference=NAME", s.o.Path, column, all, s.o.Reward)
			case none > 0:
				s.o.UI.say("%s: %d of %d rows have no reference answer in column %q: reward %s will find them unparsable", s.o.Path, none, all, column, s.o.Reward)
			}
			return nil
		case errors.As(err, &bad):
			continue
		case err != nil:
			return err
		}
		all++
		if text, _ := scalarText(row[column]); text == nil || strings.TrimSpace(*text) == "" {
			none++
		}
	}
}

// all scores every row.
func (s *rowScorer) all(ctx context.Context) (err error) {
	f, err := rowfile.Open(s.o.Path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	s.seed = maphash.MakeSeed()
	for {
		row, err := f.Next(ctx)
		if errors.Is(err, io.EOF) {
			return s.flush(ctx)
		}
		var bad *rowfile.BadRow
		if err != nil && !errors.As(err, &bad) {
			return err
		}
		var id json.RawMessage
		var c stillhouse.Candidate
		if err == nil {
			id, c, err = s.columns.candidate(row, f.Number())
		}
		if err != nil {
			s.tell(f.Place(), err)
			continue
		}
		if err := s.add(ctx, f.Place(), id, c, size(row)); err != nil {
			return err
		}
	}
}

func (s *rowScorer) tell(place string, err error) {
	if s.bad++; s.bad <= toldBadRows {
		s.o.UI.say("%s: %s: %v", s.o.Path, place, err)
	} else if s.bad == toldBadRows+1 {
		s.o.UI.say("%s: %s and later rows that cannot be used are only counted", s.o.Path, place)
	}
}

// add has a row wait for its score. Rows of one prompt wait for each other where they are judged together.
func (s *rowScorer) add(ctx context.Context, place string, id json.RawMessage, c stillhouse.Candidate, size int) error {
	n := len(s.candidates)
	full := n >= scoreRows || s.bytes >= scoreBytes
	if s.seen != nil {
		if n > 0 && s.candidates[n-1].ID == c.ID {
			full = false
			if s.bytes > groupBytes || n >= groupRows && s.candidates[n-groupRows].ID == c.ID {
				return stillhouse.Invalidf("%s: %s: more than %d rows or %d MiB have the id %s, and reward %s judges the rows of a prompt together: name the column of the prompt's id as --column id=NAME",
					s.o.Path, place, groupRows, groupBytes>>20, id, s.o.Reward)
			}
		} else if key := maphash.String(s.seed, c.ID); s.seen[key] {
			return stillhouse.Invalidf("%s: %s: the id %s came before, with others between, and reward %s judges the rows of a prompt together: put them side by side, such as by sorting the file by its ids",
				s.o.Path, place, id, s.o.Reward)
		} else {
			s.seen[key] = true
		}
	}
	if full {
		if err := s.flush(ctx); err != nil {
			return err
		}
	}
	if s.seen != nil { // a row's number among those of its prompt
		if n := len(s.candidates); n > 0 && s.candidates[n-1].ID == c.ID {
			c.Sample = s.candidates[n-1].Sample + 1
		}
	}
	s.ids, s.candidates, s.bytes = append(s.ids, id), append(s.candidates, c), s.bytes+size
	return nil
}

// flush scores the rows that wait.
func (s *rowScorer) flush(ctx context.Context) error {
	scores, err := s.stage.Ask(ctx, s.candidates)
	if err != nil {
		return err
	}
	e := json.NewEncoder(s.to)
	e.SetEscapeHTML(false)
	for i := range scores {
		x := scores[i][0]
		line := RowScore{ID: s.ids[i], Verdict: x.Verdict, Evidence: x.Evidence}
		if !math.IsNaN(x.Score) && !math.IsInf(x.Score, 0) {
			line.Score = &x.Score
			s.total += x.Score
			s.finite++
		}
		s.verdicts[x.Verdict]++
		s.scored++
		if err := e.Encode(line); err != nil {
			return fmt.Errorf("write the scores: %w", err)
		}
	}
	clear(s.candidates) // what they hold is large
	s.ids, s.candidates, s.bytes = s.ids[:0], s.candidates[:0], 0
	return nil
}

// sum says what came of all rows.
func (s *rowScorer) sum() {
	var parts []string
	for _, v := range []string{stillhouse.Right, stillhouse.Wrong, stillhouse.Unparsable, stillhouse.Timeout, stillhouse.Errored} {
		if n := s.verdicts[v]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, v))
		}
	}
	text := fmt.Sprintf("%d rows of %s scored by %s", s.scored, s.o.Path, s.o.Reward)
	if len(parts) > 0 {
		text += ": " + strings.Join(parts, ", ")
	}
	if s.finite > 0 {
		text += fmt.Sprintf("; mean score %.4f", s.total/float64(s.finite))
	}
	s.o.UI.say("%s.", text)
}

func size(row rowfile.Row) (n int) {
	for _, v := range row {
		n += len(v)
	}
	return n
}

// scalarText is a text, a number or a truth value as text; nil for null. Anything else is its JSON, and ok is false.
func scalarText(v json.RawMessage) (text *string, ok bool) {
	v = bytes.TrimSpace(v)
	if len(v) == 0 || string(v) == "null" {
		return nil, true
	}
	if v[0] == '"' {
		var s string
		if json.Unmarshal(v, &s) != nil {
			return nil, false
		}
		return &s, true
	}
	var b bytes.Buffer
	if json.Compact(&b, v) != nil {
		return nil, false
	}
	s := b.String()
	return &s, v[0] != '{' && v[0] != '['
}
