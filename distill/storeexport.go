package distill

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"
)

// An export is JSON Lines in one zstd frame: a head, a line for each response with its answers in the order in which
// they came, and an end that says how many there were. It holds all that the store holds of them, to the byte, and a
// checksum a line; the frame has one of its own.

const exportFormat = 1

type exportHead struct {
	Store  string `json:"stillhouse_store"` // always "export"
	Format int    `json:"format"`
}

type exportEnd struct {
	Responses int64 `json:"responses"`
	Answers   int64 `json:"answers"`
}

// An exportLine is one response. Request, header and body are the text that the store holds, unpacked.
type exportLine struct {
	End      *exportEnd     `json:"end,omitempty"` // in the last line, which has nothing else
	Teacher  string         `json:"teacher,omitempty"`
	Model    string         `json:"model,omitempty"`
	Created  time.Time      `json:"created,omitzero"`
	Request  string         `json:"request,omitempty"`
	Header   string         `json:"header,omitempty"`
	Body     string         `json:"body,omitempty"`
	BodyRaw  []byte         `json:"body_base64,omitempty"` // in place of body where that is not UTF-8
	Answers  []exportAnswer `json:"answers,omitempty"`
	Checksum string         `json:"checksum,omitempty"` // XXH64 of all the above
}

type exportAnswer struct {
	Key          string `json:"key"`
	MaxTokens    int64  `json:"max_tokens"`
	Sample       int64  `json:"sample"`
	Choice       int64  `json:"choice"`
	FinishReason string `json:"finish_reason"`
}

func (l *exportLine) body() []byte {
	if l.BodyRaw != nil {
		return l.BodyRaw
	}
	return []byte(l.Body)
}

func (l *exportLine) checksum() string {
	r := responseRow{teacher: l.Teacher, model: l.Model, created: l.Created.UnixMilli(), request: []byte(l.Request), header: []byte(l.Header), body: l.body()}
	var b []byte
	for _, a := range l.Answers {
		row := answerRow{key: []byte(a.Key), maxTokens: a.MaxTokens, sample: a.Sample, choice: a.Choice, finish: a.FinishReason}
		b = fmt.Appendf(b, "%016x", uint64(row.checksum(0)))
	}
	return fmt.Sprintf("%016x", uint64(sumOf(fmt.Appendf(b, "%016x", uint64(r.checksum())))))
}

// Exported says what an export or an import did.
type Exported struct {
	Responses int64 `json:"responses"`
	Answers   int64 `json:"answers"`
	// LeftOut is how many answers were not exported since they are damaged, or not imported since there are some already.
	LeftOut int64 `json:"left_out"`
}

// Export writes what is selected. Answers that are damaged are left out and told of, those behind them are not: it is
// also the way to save what is whole of a damaged store. Responses that no answer is read from are left out.
func (r *StoreReader) Export(ctx context.Context, w io.Writer, s Selection, damage func(Damage)) (e Exported, err error) {
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true))
	if err != nil {
		return e, err
	}
	defer z.Close()
	buffered := bufio.NewWriterSize(z, 1<<20)
	enc := json.NewEncoder(buffered)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(exportHead{"export", exportFormat}); err != nil {
		return e, err
	}
	err = r.walk(ctx, damage, func(row *responseRow, answers []answerRow) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !s.includes(row) || len(answers) == 0 {
			return nil
		}
		l := row.export(answers, damage)
		e.LeftOut += int64(len(answers) - len(l.Answers))
		if len(l.Answers) == 0 {
			return nil
		}
		e.Responses++
		e.Answers += int64(len(l.Answers))
		return enc.Encode(l)
	})
	if err != nil {
		return e, err
	}
	if err := enc.Encode(exportLine{End: &exportEnd{e.Responses, e.Answers}}); err != nil {
		return e, err
	}
	if err := buffered.Flush(); err != nil {
		return e, err
	}
	return e, z.Close()
}

// export is the line of a response with those of its answers that are whole.
func (r *responseRow) export(answers []answerRow, damage func(Damage)) *exportLine {
	u := r.unpack(damage)
	l := &exportLine{Teacher: r.teacher, Model: r.model, Created: time.UnixMilli(r.created).UTC(), Request: string(u.request), Header: string(u.header)}
	if utf8.Valid(u.body) {
		l.Body = string(u.body)
	} else {
		l.BodyRaw = u.body
	}
	if u.header == nil {
		l.Header = "{}"
	}
	for i := range answers {
		a := &answers[i]
		if what := u.wrong(a); what != "" {
			damage(Damage{r.id, fmt.Sprintf("%x", a.key), what})
			continue
		}
		l.Answers = append(l.Answers, exportAnswer{fmt.Sprintf("%x", a.key), a.maxTokens, a.sample, a.choice, a.finish})
	}
	l.Checksum = l.checksum()
	return l
}
