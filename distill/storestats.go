package distill

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"stillhouse"
)

// Stats are what a store adds up to.
type Stats struct {
	Store     string `json:"store"`
	Version   int    `json:"version"`
	Bytes     int64  `json:"bytes"`      // of the file
	LogBytes  int64  `json:"log_bytes"`  // of what is not yet moved into it
	FreeBytes int64  `json:"free_bytes"` // of the file, for what comes

	Total         Group            `json:"total"`
	Groups        []Group          `json:"groups"` // by teacher and model
	Keys          int64            `json:"keys"`   // answers to the same request under several limits of tokens are one
	FinishReasons map[string]int64 `json:"finish_reasons"`
	Ages          []Age            `json:"ages"`
	Packed        Packed           `json:"packed_bytes"`
	Unused        int64            `json:"unused"`     // responses that no answer is read from
	Superseded    int64            `json:"superseded"` // truncated answers whose key has a whole answer with a higher limit
	Facts         []Fact           `json:"facts"`
	Scores        map[string]int64 `json:"scores"` // kept of rewards, by their kind
}

// An Age is how many responses are older than the one before and no older than this.
type Age struct {
	Days      int   `json:"days"` // 0 in the last: all that are older still
	Responses int64 `json:"responses"`
}

// Packed is how many bytes the parts of all responses take, packed.
type Packed struct {
	Requests int64 `json:"requests"`
	Headers  int64 `json:"headers"`
	Bodies   int64 `json:"bodies"`
}

// Stats adds up what is in the store at a time.
func (r *StoreReader) Stats(ctx context.Context, now time.Time) (*Stats, error) {
	s := &Stats{Store: r.path, Version: r.version, FinishReasons: map[string]int64{}}
	if info, err := os.Stat(r.path + "-wal"); err == nil {
		s.LogBytes = info.Size()
	}
	total, err := r.List(ctx, Selection{}, nil)
	if err != nil {
		return nil, err
	}
	if len(total) > 0 {
		s.Total = total[0]
	}
	if s.Groups, err = r.List(ctx, Selection{}, []string{"teacher", "model"}); err != nil {
		return nil, err
	}
	if s.Facts, _, err = r.Facts(ctx, ""); err != nil {
		return nil, err
	}
	if s.Scores, _, err = r.scores(ctx, func(Damage) {}); err != nil {
		return nil, r.explain(err)
	}
	var pages, free, size int64
	for query, to := range map[string][]any{
		`PRAGMA page_count`:                       {&pages},
		`PRAGMA freelist_count`:                   {&free},
		`PRAGMA page_size`:                        {&size},
		`SELECT count(DISTINCT key) FROM answers`: {&s.Keys},
		`SELECT coalesce(sum(length(request)), 0), coalesce(sum(length(header)), 0), coalesce(sum(length(body)), 0) FROM responses`: {&s.Packed.Requests, &s.Packed.Headers, &s.Packed.Bodies},
		`SELECT count(*) FROM responses WHERE id NOT IN (SELECT response FROM answers)`:                                             {&s.Unused},
		`SELECT count(*) FROM answers a WHERE ` + superseded:                                                                        {&s.Superseded},
	} {
		if err := r.tx.QueryRowContext(ctx, query).Scan(to...); err != nil {
			return nil, r.explain(err)
		}
	}
	s.Bytes, s.FreeBytes = pages*size, free*size
	rows, err := r.tx.QueryContext(ctx, `SELECT finish_reason, count(*) FROM answers GROUP BY 1`)
	if err != nil {
		return nil, r.explain(err)
	}
	defer rows.Close()
	for rows.Next() {
		var finish string
		var n int64
		if err := rows.Scan(&finish, &n); err != nil {
			return nil, r.explain(err)
		}
		s.FinishReasons[finish] = n
	}
	if err := rows.Err(); err != nil {
		return nil, r.explain(err)
	}
	return s, r.ages(ctx, now, s)
}

func (r *StoreReader) ages(ctx context.Context, now time.Time, s *Stats) error {
	var younger int64
	for _, days := range []int{1, 7, 30, 90, 365, 0} {
		since := now.AddDate(0, 0, -days).UnixMilli()
		if days == 0 {
			since = 0
		}
		var n int64
		if err := r.tx.QueryRowContext(ctx, `SELECT count(*) FROM responses WHERE created >= ?`, since).Scan(&n); err != nil {
			return r.explain(err)
		}
		s.Ages = append(s.Ages, Age{days, n - younger})
		younger = n
	}
	return nil
}

// Stored is an answer with all that the store knows of it.
type Stored struct {
	Key          string          `json:"key"`
	MaxTokens    int64           `json:"max_tokens"` // that were asked for; 0 for no limit
	Sample       int64           `json:"sample"`
	Response     int64           `json:"response"` // its number in this store
	Choice       int64           `json:"choice"`   // of the response
	Teacher      string          `json:"teacher"`
	Model        string          `json:"model"`
	Created      time.Time       `json:"created"`
	FinishReason string          `json:"finish_reason"`
	Content      string          `json:"content"`
	Reasoning    string          `json:"reasoning,omitempty"`
	ToolCalls    json.RawMessage `json:"tool_calls,omitempty"`
	Request      string          `json:"request"` // as it was sent
	Header       json.RawMessage `json:"header"`  // what is kept of the headers that came
	Body         string          `json:"body"`    // as it came
}

// Show gives the answers under a key, one for each limit of tokens. The key may be cut down to its first hexadecimal
// digits, if no other begins with them.
func (r *StoreReader) Show(ctx context.Context, key string) ([]Stored, error) {
	digits := strings.ToLower(key)
	const all = 2 * len(Key{})
	low, err := hex.DecodeString(digits + strings.Repeat("0", max(0, all-len(digits))))
	if err != nil || len(digits) < 4 || len(low) != len(Key{}) {
		return nil, stillhouse.Invalidf("%q is no key: give 4 to %d hexadecimal digits, as in the column request_key of candidates", key, all)
	}
	high, err := hex.DecodeString(digits + strings.Repeat("f", all-len(digits)))
	if err != nil {
		return nil, err
	}
	var found []answerRow
	err = r.each(ctx, 7, func(v []any) error {
		a, ok := answerOf(v)
		if !ok {
			return fmt.Errorf("the row of answer %x cannot be read: %w", a.key, errDamaged)
		}
		found = append(found, a)
		return nil
	}, `SELECT response, choice, key, max_tokens, sample, finish_reason, sum FROM answers WHERE key BETWEEN ? AND ? ORDER BY key, max_tokens LIMIT 1000`, low, high)
	if err != nil {
		return nil, r.explain(err)
	}
	if len(found) == 0 {
		return nil, stillhouse.Invalidf("response store %s has no answer under the key %s", r.path, key)
	}
	if first, last := found[0].key, found[len(found)-1].key; string(first) != string(last) {
		return nil, stillhouse.Invalidf("more than one key begins with %s, such as %x and %x: give more digits", key, first, last)
	}
	var out []Stored
	for i := range found {
		one, err := r.show(ctx, &found[i])
		if err != nil {
			return nil, err
		}
		out = append(out, one)
	}
	return out, nil
}

func (r *StoreReader) show(ctx context.Context, a *answerRow) (out Stored, err error) {
	var row *responseRow
	err = r.each(ctx, 10, func(v []any) error {
		var ok bool
		if row, ok = responseOf(v); !ok {
			return fmt.Errorf("the row of response %d cannot be read: %w", a.response, errDamaged)
		}
		return nil
	}, `SELECT id, teacher, model, request, header, body, created, prompt_tokens, completion_tokens, sum FROM responses WHERE id = ?`, a.response)
	if err == nil && row == nil {
		err = fmt.Errorf("response %d of answer %x is not there: %w", a.response, a.key, errDamaged)
	}
	if err != nil {
		return out, r.explain(err)
	}
	var wrong string
	u := row.unpack(func(d Damage) { wrong = d.What })
	if what := u.wrong(a); what != "" {
		wrong = what
	}
	if wrong != "" {
		return out, r.explain(fmt.Errorf("answer %x of response %d: %s: %w", a.key, row.id, wrong, errDamaged))
	}
	answer := u.reply.answers[a.choice]
	out = Stored{Key: hex.EncodeToString(a.key), MaxTokens: a.maxTokens, Sample: a.sample, Response: row.id, Choice: a.choice, Teacher: row.teacher,
		Model: row.model, Created: time.UnixMilli(row.created).UTC(), FinishReason: a.finish, Content: answer.Content, Reasoning: answer.Reasoning,
		Request: string(u.request), Header: u.header, Body: string(u.body)}
	if answer.ToolCalls != "" {
		out.ToolCalls = json.RawMessage(answer.ToolCalls)
	}
	return out, nil
}
