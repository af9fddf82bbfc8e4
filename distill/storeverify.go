package distill

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
)

// A Verdict says what of a store is whole.
type Verdict struct {
	Store     string `json:"store"`
	Version   int    `json:"version"`
	Bytes     int64  `json:"bytes"`     // of the file and its log
	Responses int64  `json:"responses"` // that are whole
	Answers   int64  `json:"answers"`   // that are whole and lie under the key of their request
	Unused    int64  `json:"unused"`    // responses without an answer: others had been stored for all they were asked for

	DamagedResponses int64    `json:"damaged_responses"`
	DamagedAnswers   int64    `json:"damaged_answers"`
	DamagedFacts     int      `json:"damaged_facts"`
	Scores           int64    `json:"scores"` // that are whole
	DamagedScores    int64    `json:"damaged_scores"`
	Structure        []string `json:"structure"` // what SQLite's own check finds
	Damages          []Damage `json:"damages"`   // the first maxDamages of them
}

// maxDamages bounds how many damages are told one by one.
const maxDamages = 100

// Whole reports whether nothing in the store is damaged.
func (v *Verdict) Whole() bool {
	return v.DamagedResponses == 0 && v.DamagedAnswers == 0 && v.DamagedFacts == 0 && v.DamagedScores == 0 && len(v.Structure) == 0 && len(v.Damages) == 0
}

// Verify reads all that is in the store: SQLite checks the file's structure, every row is compared to its checksum,
// every body is unpacked and parsed, and every answer's key is made again from its request.
func (r *StoreReader) Verify(ctx context.Context) (*Verdict, error) {
	v := &Verdict{Store: r.path, Version: r.version, Structure: []string{}, Damages: []Damage{}}
	for _, name := range []string{r.path, r.path + "-wal"} {
		if info, err := os.Stat(name); err == nil {
			v.Bytes += info.Size()
		}
	}
	if err := r.structure(ctx, v); err != nil {
		return nil, err
	}
	var mu sync.Mutex
	damage := func(d Damage) {
		mu.Lock()
		defer mu.Unlock()
		if len(v.Damages) < maxDamages {
			v.Damages = append(v.Damages, d)
		}
	}
	var workers errgroup.Group
	workers.SetLimit(runtime.GOMAXPROCS(0))
	var walked int64
	err := r.walk(ctx, damage, func(row *responseRow, answers []answerRow) error {
		walked += int64(len(answers))
		workers.Go(func() error {
			ok, whole := row.check(answers, damage)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case !ok:
				v.DamagedResponses++
			case len(answers) == 0:
				v.Unused++
				fallthrough
			default:
				v.Responses++
			}
			v.Answers += int64(whole)
			v.DamagedAnswers += int64(len(answers) - whole)
			return nil
		})
		return ctx.Err()
	})
	if err := workers.Wait(); err != nil {
		return nil, err
	}
	if isDamage(err) { // of what tells where everything is
		damage(Damage{What: "nothing can be read: " + err.Error()})
	} else if err != nil {
		return nil, err
	}
	var answers int64
	if err := r.tx.QueryRowContext(ctx, `SELECT count(*) FROM answers`).Scan(&answers); err == nil && answers > walked {
		v.DamagedAnswers += answers - walked // those without a response, or that could not be read
	}
	if _, v.DamagedFacts, err = r.Facts(ctx, ""); err != nil && !isDamage(err) {
		return nil, err
	} else if err != nil {
		v.DamagedFacts++
	}
	byReward, damaged, err := r.scores(ctx, damage)
	if err != nil && !isDamage(err) {
		return nil, err
	} else if err != nil {
		damaged++
	}
	v.DamagedScores = damaged
	for _, n := range byReward {
		v.Scores += n
	}
	slices.SortStableFunc(v.Damages, func(a, b Damage) int {
		if a.Response != b.Response {
			return int(min(max(a.Response-b.Response, -1), 1))
		}
		return strings.Compare(a.Key+a.What, b.Key+b.What)
	})
	return v, nil
}

// structure has SQLite check the file: that its trees are trees, that no page is used twice or never.
func (r *StoreReader) structure(ctx context.Context, v *Verdict) error {
	head := make([]byte, 20)
	f, err := os.Open(r.path)
	if err != nil {
		return r.explain(err)
	}
	defer f.Close()
	if _, err := io.ReadFull(f, head); err != nil {
		return r.explain(err)
	}
	if head[18] != 2 || head[19] != 2 { // https://sqlite.org/fileformat.html: what may write the file and what may read it
		v.Structure = append(v.Structure, "the file's header does not say that it is in WAL mode")
	}
	// On a connection of its own: when it has met a damaged page, SQLite writes no temporary tables on it.
	err = eachRow(ctx, r.db, 1, func(values []any) error {
		for line := range strings.Lines(fmt.Sprint(values[0])) {
			if line = strings.TrimSpace(line); line != "ok" {
				v.Structure = append(v.Structure, line)
			}
		}
		return nil
	}, fmt.Sprintf(`PRAGMA integrity_check(%d)`, maxDamages))
	if isDamage(err) {
		v.Structure = append(v.Structure, err.Error())
		return nil
	}
	if err != nil {
		return r.explain(err)
	}
	return nil
}

// check looks whether a response is whole, and how many of its answers are.
func (r *responseRow) check(answers []answerRow, damage func(Damage)) (ok bool, whole int) {
	u := r.unpack(damage)
	for i := range answers {
		if what := u.wrong(&answers[i]); what == "" {
			whole++
		} else {
			damage(Damage{r.id, fmt.Sprintf("%x", answers[i].key), what})
		}
	}
	return u.whole, whole
}

// An unpackedResponse is what a row of responses holds. Of a damaged one, some of it is empty.
type unpackedResponse struct {
	*responseRow
	whole                 bool
	request, header, body []byte
	reply                 reply
}

func (r *responseRow) unpack(damage func(Damage)) *unpackedResponse {
	u := &unpackedResponse{responseRow: r, whole: true}
	bad := func(what string) {
		u.whole = false
		damage(Damage{r.id, "", what})
	}
	if r.checksum() != r.sum {
		bad("the row of this response is not what was written")
	}
	for _, part := range []struct {
		name   string
		packed []byte
		to     *[]byte
	}{{"request", r.request, &u.request}, {"headers", r.header, &u.header}, {"body", r.body, &u.body}} {
		text, err := unpacker().DecodeAll(part.packed, nil)
		if err != nil {
			bad("the " + part.name + " cannot be unpacked: " + err.Error())
			continue
		}
		*part.to = text
	}
	var err error
	if u.reply, err = parseReply(u.body); err != nil && u.body != nil {
		bad("the body cannot be read: " + err.Error())
	}
	return u
}

// wrong says what is wrong with an answer of the response, "" if it is whole.
func (u *unpackedResponse) wrong(a *answerRow) string {
	switch {
	case a.checksum(sumOf(u.responseRow.body)) != a.sum:
		return "the row of this answer is not what was written, or not with this response"
	case u.body == nil || len(u.reply.answers) == 0:
		return "the body of its response cannot be read"
	case a.choice < 0 || a.choice >= int64(len(u.reply.answers)):
		return fmt.Sprintf("its response has no answer %d", a.choice)
	case !a.matches(u.teacher, u.request):
		return "it lies under a key that is not that of its request"
	}
	return ""
}
