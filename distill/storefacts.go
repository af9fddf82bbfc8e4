package distill

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"time"
)

// A Fact is something that was learned about a teacher, such as whether it honours n, so that the next run does not
// learn it again. What is asked may depend on it; what comes out must not, but for questions that can be asked in two ways.
type Fact struct {
	Teacher string    `json:"teacher"` // what stands for the endpoint in the keys
	Name    string    `json:"name"`
	Value   string    `json:"value"`
	Learned time.Time `json:"learned"`
}

func (f *Fact) checksum() int64 {
	b := binary.LittleEndian.AppendUint64(nil, uint64(f.Learned.UnixMilli()))
	for _, text := range []string{f.Teacher, f.Name, f.Value} {
		b = appendText(b, []byte(text))
	}
	return sumOf(b)
}

// Fact looks up what was learned about a teacher under a name. A fact whose bytes have changed is one that is not there.
func (s *Store) Fact(ctx context.Context, teacher, name string) (f Fact, ok bool, err error) {
	f = Fact{Teacher: teacher, Name: name}
	var learned, sum int64
	err = s.db.QueryRowContext(ctx, `SELECT value, learned, sum FROM facts WHERE teacher = ? AND name = ?`, teacher, name).Scan(&f.Value, &learned, &sum)
	if errors.Is(err, sql.ErrNoRows) {
		return f, false, nil
	}
	if err != nil {
		return f, false, s.explain("read from", err)
	}
	f.Learned = time.UnixMilli(learned)
	return f, f.checksum() == sum, nil
}

// SetFact keeps a fact in place of what was there under its name.
func (s *Store) SetFact(ctx context.Context, f Fact) error {
	_, err := s.db.ExecContext(ctx, `INSERT INTO facts (teacher, name, value, learned, sum) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET value = excluded.value, learned = excluded.learned, sum = excluded.sum`,
		f.Teacher, f.Name, f.Value, f.Learned.UnixMilli(), f.checksum())
	if err != nil {
		return s.explain("write to", err)
	}
	return nil
}
