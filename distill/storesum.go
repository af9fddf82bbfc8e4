package distill

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

// SQLite has no checksums of its own: a bit that flips on the disk is an answer's number or its limit of tokens changed.
// So every row carries an XXH64 of all that is in it. That of an answer takes in the response's body as well, so that it
// can never be read together with another one's.

// An answerRow is a row of answers.
type answerRow struct {
	key       []byte
	maxTokens int64
	sample    int64
	response  int64
	choice    int64
	finish    string
	sum       int64
}

// checksum is what sum must be, given that of the response's packed body.
func (a *answerRow) checksum(body int64) int64 {
	b := make([]byte, 0, 128)
	for _, v := range []int64{a.maxTokens, a.sample, a.response, a.choice, body} {
		b = binary.LittleEndian.AppendUint64(b, uint64(v))
	}
	b = appendText(b, a.key)
	b = appendText(b, []byte(a.finish))
	return sumOf(b)
}

// A responseRow is a row of responses.
type responseRow struct {
	id               int64
	teacher          string
	model            string
	request          []byte // packed, as are the next two
	header           []byte
	body             []byte
	created          int64
	promptTokens     int64
	completionTokens int64
	sum              int64
}

func (r *responseRow) checksum() int64 {
	b := make([]byte, 0, 256)
	for _, v := range []int64{r.id, r.created, r.promptTokens, r.completionTokens, sumOf(r.request), sumOf(r.header), sumOf(r.body)} {
		b = binary.LittleEndian.AppendUint64(b, uint64(v))
	}
	b = appendText(b, []byte(r.teacher))
	b = appendText(b, []byte(r.model))
	return sumOf(b)
}

func sumOf(b []byte) int64 { return int64(xxhash.Sum64(b)) }

// appendText appends a text and how long it is, so that no two lists of texts become the same bytes.
func appendText(b, text []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(text))), text...)
}
