package distill

import (
	"bufio"
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"

	"stillhouse"
)

// maxLine bounds a line of an export: a body of the longest there is, each byte of it escaped.
const maxLine = 6*maxBody + 1<<20

// Import takes up the answers of an export, or of another store: their file is told by how it begins. Answers that are
// there already stay as they are, so that importing twice is importing once. Each line is checked before it is taken
// up: its checksum, that its body is an answer, and that every answer lies under the key of its request. The first line
// that is wrong ends the import; what came before it is kept.
func (s *Store) Import(ctx context.Context, path string) (Exported, error) {
	f, err := os.Open(path)
	if err != nil {
		return Exported{}, stillhouse.Invalidf("import: %v", err)
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, 1<<20)
	t := &intake{store: s, name: path}
	head, err := in.Peek(15)
	switch {
	case err == nil && string(head) == "SQLite format 3":
		err = t.fromStore(ctx)
	default:
		err = t.fromExport(ctx, in)
	}
	return t.done, errors.Join(err, t.finish(0))
}

// An intake is an import at work. It keeps some exchanges on their way, so that they share transactions.
type intake struct {
	store   *Store
	name    string
	waiting []*exchange
	done    Exported
}

const maxWaiting = 256

// fromStore takes up another store: what is damaged in it ends the import.
func (t *intake) fromStore(ctx context.Context) error {
	r, err := ReadStore(ctx, t.name)
	if err != nil {
		return err
	}
	defer r.Close()
	if r.Path() == t.store.path {
		return stillhouse.Invalidf("import %s: it is the very store that it is imported into: name another with --store", t.name)
	}
	var first *Damage
	damage := func(d Damage) {
		if first == nil {
			first = &d
		}
	}
	stop := func() error {
		if first == nil {
			return nil
		}
		return stillhouse.Invalidf("import %s: the store is damaged (response %d: %s): export what is whole of it with `stillhouse store export`, and import that; what was read before this is in the store", t.name, first.Response, first.What)
	}
	err = r.walk(ctx, damage, func(row *responseRow, answers []answerRow) error {
		if err := errors.Join(stop(), ctx.Err()); err != nil || len(answers) == 0 {
			return err
		}
		l := row.export(answers, damage)
		if err := stop(); err != nil {
			return err
		}
		return t.take(l)
	})
	return errors.Join(err, stop())
}

func (t *intake) fromExport(ctx context.Context, in *bufio.Reader) error {
	if head, err := in.Peek(1); err != nil || head[0] != '{' { // it may have been unpacked
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return err
		}
		defer z.Close()
		in = bufio.NewReader(z)
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 1<<20), maxLine)
	wrong := func(line int64, format string, args ...any) error {
		return stillhouse.Invalidf("import %s: line %d: %s: export it anew; what was read before this line is in the store", t.name, line, fmt.Sprintf(format, args...))
	}
	var line int64
	var end *exportEnd
	for lines.Scan() {
		line++
		if err := ctx.Err(); err != nil {
			return err
		}
		if line == 1 {
			var head exportHead
			if err := json.Unmarshal(lines.Bytes(), &head); err != nil || head.Store != "export" {
				return stillhouse.Invalidf("import %s: it is not what `stillhouse store export` writes: name such a file, or another store", t.name)
			}
			if head.Format > exportFormat {
				return stillhouse.Invalidf("import %s: its format is %d and this program knows up to %d: use a newer stillhouse", t.name, head.Format, exportFormat)
			}
			continue
		}
		if end != nil {
			return wrong(line, "there is something after the end")
		}
		var l exportLine
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return wrong(line, "it is not one of an export (%v)", err)
		}
		if end = l.End; end != nil {
			continue
		}
		if what := l.wrong(); what != "" {
			return wrong(line, "%s", what)
		}
		if err := t.take(&l); err != nil {
			return err
		}
	}
	switch err := lines.Err(); {
	case err != nil && !errors.Is(err, zstd.ErrMagicMismatch):
		return wrong(line+1, "the file is damaged or cut off (%v)", err)
	case line == 0:
		return stillhouse.Invalidf("import %s: it is not what `stillhouse store export` writes (%v): name such a file, or another store", t.name, cmp.Or(err, io.EOF))
	case end == nil:
		return wrong(line+1, "the file is cut off")
	}
	if err := t.finish(0); err != nil {
		return err
	}
	if t.done.Responses != end.Responses || t.done.Answers+t.done.LeftOut != end.Answers {
		return wrong(line, "it says that there are %d responses with %d answers, and there were %d with %d", end.Responses, end.Answers, t.done.Responses, t.done.Answers+t.done.LeftOut)
	}
	return nil
}

// wrong says what is wrong with a line, "" if nothing is.
func (l *exportLine) wrong() string {
	if l.Checksum != l.checksum() {
		return "it is not what was written"
	}
	reply, err := parseReply(l.body())
	if err != nil {
		return "its body is no answer: " + err.Error()
	}
	for _, a := range l.Answers {
		key, err := hex.DecodeString(a.Key)
		row := answerRow{key: key, maxTokens: a.MaxTokens, sample: a.Sample, choice: a.Choice}
		switch {
		case err != nil || len(key) != len(Key{}):
			return fmt.Sprintf("%q is no key", a.Key)
		case a.Choice < 0 || a.Choice >= int64(len(reply.answers)):
			return fmt.Sprintf("its body has no answer %d", a.Choice)
		case !row.matches(l.Teacher, []byte(l.Request)):
			return fmt.Sprintf("the key %s is not that of its request", a.Key)
		}
	}
	return ""
}

// take sends a line on its way into the store.
func (t *intake) take(l *exportLine) error {
	body := l.body()
	reply, err := parseReply(body)
	if err != nil {
		return err
	}
	e := &exchange{teacher: l.Teacher, model: l.Model, reply: reply, request: pack([]byte(l.Request)), header: pack([]byte(l.Header)), body: pack(body), at: l.Created}
	for _, a := range l.Answers {
		key, err := hex.DecodeString(a.Key)
		if err != nil {
			return err
		}
		e.rows = append(e.rows, answerRow{key: key, maxTokens: a.MaxTokens, sample: a.Sample, choice: a.Choice, finish: a.FinishReason})
	}
	if err := t.store.send(e); err != nil {
		return err
	}
	t.waiting = append(t.waiting, e)
	return t.finish(maxWaiting)
}

// finish waits until no more than some exchanges are on their way.
func (t *intake) finish(most int) error {
	for len(t.waiting) > most {
		e := t.waiting[0]
		t.waiting = t.waiting[1:]
		if err := t.store.wait(e); err != nil {
			return err
		}
		t.done.Responses++
		t.done.Answers += int64(e.fresh)
		t.done.LeftOut += int64(len(e.rows) - e.fresh)
	}
	return nil
}
