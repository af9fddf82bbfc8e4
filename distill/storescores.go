package distill

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"strings"
	"time"

	"stillhouse"
)

// scoreSchema keeps what rewards said of candidates that cost more to ask than to look up. A row can be made again from
// its candidate: nothing is paid for a teacher's answer when it is gone.
const scoreSchema = `CREATE TABLE scores (
		key      BLOB PRIMARY KEY, -- of the reward's kind, version and options, and of the candidate
		reward   TEXT NOT NULL,    -- its kind
		score    INTEGER NOT NULL, -- the bits of a float64
		verdict  TEXT NOT NULL,
		evidence TEXT NOT NULL,
		created  INTEGER NOT NULL, -- Unix time in milliseconds
		sum      INTEGER NOT NULL
	) WITHOUT ROWID;`

// A scoreRow is a row of scores.
type scoreRow struct {
	key               []byte
	reward            string
	score             int64
	verdict, evidence string
	created           int64
	sum               int64
}

func (r *scoreRow) checksum() int64 {
	b := binary.LittleEndian.AppendUint64(nil, uint64(r.score))
	b = binary.LittleEndian.AppendUint64(b, uint64(r.created))
	for _, text := range [][]byte{r.key, []byte(r.reward), []byte(r.verdict), []byte(r.evidence)} {
		b = appendText(b, text)
	}
	return sumOf(b)
}

func (r *scoreRow) value() stillhouse.Score {
	return stillhouse.Score{Score: math.Float64frombits(uint64(r.score)), Verdict: r.verdict, Evidence: r.evidence}
}

const scoreColumns = `key, reward, score, verdict, evidence, created, sum`

// scoreOf reads the values of scoreColumns; ok says whether they are those that were written.
func scoreOf(v []any) (r scoreRow, ok bool) {
	ok = true
	take(&r.key, v[0], &ok)
	take(&r.reward, v[1], &ok)
	take(&r.score, v[2], &ok)
	take(&r.verdict, v[3], &ok)
	take(&r.evidence, v[4], &ok)
	take(&r.created, v[5], &ok)
	take(&r.sum, v[6], &ok)
	return r, ok && r.checksum() == r.sum
}

// scoresAtOnce is how many keys one query looks for.
const scoresAtOnce = 500

// Scores looks up the scores under these keys. One that is not there is not in the map, nor is one whose bytes have
// changed.
func (s *Store) Scores(ctx context.Context, keys [][32]byte) (map[[32]byte]stillhouse.Score, error) {
	found := make(map[[32]byte]stillhouse.Score, len(keys))
	for from := 0; from < len(keys); from += scoresAtOnce {
		some := keys[from:min(from+scoresAtOnce, len(keys))]
		args := make([]any, len(some))
		for i := range some {
			args[i] = some[i][:]
		}
		query := `SELECT ` + scoreColumns + ` FROM scores WHERE key IN (?` + strings.Repeat(`, ?`, len(some)-1) + `)`
		err := eachRow(ctx, s.db, 7, func(v []any) error {
			if r, ok := scoreOf(v); ok && len(r.key) == 32 {
				found[[32]byte(r.key)] = r.value()
			}
			return nil
		}, query, args...)
		if err != nil {
			return nil, s.explain("read from", err)
		}
	}
	return found, nil
}

// KeepScore keeps a score of a kind of reward under a key, unless there is one whose bytes are whole. It returns the one
// that is kept then.
func (s *Store) KeepScore(ctx context.Context, key [32]byte, reward string, score stillhouse.Score) (stillhouse.Score, error) {
	r := scoreRow{key: key[:], reward: reward, score: int64(math.Float64bits(score.Score)), verdict: score.Verdict, evidence: score.Evidence, created: time.Now().UnixMilli()}
	put := func(or string) (kept bool, err error) {
		done, err := s.db.ExecContext(ctx, `INSERT OR `+or+` INTO scores (`+scoreColumns+`) VALUES (?, ?, ?, ?, ?, ?, ?)`, r.key, r.reward, r.score, r.verdict, r.evidence, r.created, r.checksum())
		if err != nil {
			return false, s.explain("write to", err)
		}
		n, err := done.RowsAffected()
		return n > 0, err
	}
	if kept, err := put("IGNORE"); kept || err != nil {
		return score, err
	}
	there, err := s.Scores(ctx, [][32]byte{key})
	if err != nil {
		return score, err
	}
	if was, ok := there[key]; ok {
		return was, nil
	}
	_, err = put("REPLACE")
	return score, err
}

// scores counts the scores that are whole, by the kind of reward, and tells of those that aren't.
func (r *StoreReader) scores(ctx context.Context, damage func(Damage)) (whole map[string]int64, damaged int64, err error) {
	whole = map[string]int64{}
	err = r.each(ctx, 7, func(v []any) error {
		s, ok := scoreOf(v)
		if !ok {
			damaged++
			damage(Damage{What: fmt.Sprintf("the score %s is not what was written", hex.EncodeToString(s.key))})
			return nil
		}
		whole[s.reward]++
		return nil
	}, `SELECT `+scoreColumns+` FROM scores`)
	return whole, damaged, err
}
