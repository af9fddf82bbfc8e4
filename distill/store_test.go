package distill

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse"
	"stillhouse/internal/testkit"
)

func keyOf(text string) Key { return sha256.Sum256([]byte(text)) }

// exchangeOf is what came for a request for one sample of each key.
func exchangeOf(t testing.TB, maxTokens int, finish string, contents map[Key]string, keys ...Key) *exchange {
	var choices []string
	for i, k := range keys {
		choices = append(choices, fmt.Sprintf(`{"index":%d,"message":{"content":%q},"finish_reason":%q}`, i, contents[k], finish))
	}
	body := []byte(`{"model":"m","choices":[` + strings.Join(choices, ",") + `],"usage":{"prompt_tokens":3,"completion_tokens":5}}`)
	r, err := parseReply(body)
	require.NoError(t, err)
	return &exchange{teacher: "test", keys: keys, maxTokens: maxTokens, reply: r, request: pack([]byte("{}")), header: pack([]byte("{}")), body: pack(body), at: time.Unix(1, 0)}
}

func put(t testing.TB, s *Store, maxTokens int, finish, content string, key Key) int {
	e := exchangeOf(t, maxTokens, finish, map[Key]string{key: content}, key)
	require.NoError(t, s.put(e))
	return e.fresh
}

func get(t testing.TB, s *Store, key Key, maxTokens int) string {
	found, err := s.Get(context.Background(), []Key{key}, maxTokens)
	require.NoError(t, err)
	if a, ok := found[key]; ok {
		return a.Content
	}
	return "none"
}

func newStore(t testing.TB) *Store {
	s, err := OpenStore(context.Background(), filepath.Join(t.TempDir(), "a b?c#d%20", "responses.db"))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

func TestStoreKeepsTheFirstAnswer(t *testing.T) {
	s := newStore(t)
	k := keyOf("a")
	assert.Equal(t, "none", get(t, s, k, 40))
	assert.Equal(t, 1, put(t, s, 40, "stop", "first", k))
	assert.Equal(t, 0, put(t, s, 40, "stop", "second", k))
	assert.Equal(t, "first", get(t, s, k, 40))
	require.NoError(t, s.Close())
	s, err := OpenStore(context.Background(), s.Path())
	require.NoError(t, err)
	defer s.Close()
	assert.Equal(t, "first", get(t, s, k, 40))
	n, err := s.Count(context.Background())
	require.NoError(t, err)
	assert.Equal(t, int64(1), n)
}

func TestStoreFindsWholeAnswersOfLowerLimits(t *testing.T) {
	s := newStore(t)
	whole, cut, free := keyOf("whole"), keyOf("cut"), keyOf("free")
	put(t, s, 40, "stop", "whole at 40", whole)
	put(t, s, 40, "length", "cut at 40", cut)
	put(t, s, 0, "stop", "without a limit", free)
	for _, tc := range []struct {
		key   Key
		limit int
		want  string
	}{
		{whole, 40, "whole at 40"}, {whole, 80, "whole at 40"}, {whole, 0, "whole at 40"}, {whole, 20, "none"},
		{cut, 40, "cut at 40"}, {cut, 80, "none"}, {cut, 0, "none"}, {cut, 20, "none"},
		{free, 0, "without a limit"}, {free, 80, "none"},
	} {
		assert.Equal(t, tc.want, get(t, s, tc.key, tc.limit), "limit %d", tc.limit)
	}
	put(t, s, 60, "stop", "later at 60", whole)
	assert.Equal(t, "whole at 40", get(t, s, whole, 80), "the older one stays the answer")
	assert.Equal(t, "later at 60", get(t, s, whole, 60))
}

func TestStoreFileIsPrivate(t *testing.T) {
	info, err := os.Stat(newStore(t).Path())
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func TestDefaultStoreIsInTheCache(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", dir)
	s, err := OpenStore(context.Background(), "")
	require.NoError(t, err)
	defer s.Close()
	assert.Equal(t, filepath.Join(dir, "stillhouse", "responses.db"), s.Path())
}

func TestStoreIsWrittenByMany(t *testing.T) {
	path := newStore(t).Path()
	var wg sync.WaitGroup
	for w := range 4 { // handles of their own, as processes have
		wg.Go(func() {
			s, err := OpenStore(context.Background(), path)
			if !assert.NoError(t, err) {
				return
			}
			defer s.Close()
			var inner sync.WaitGroup
			for g := range 8 {
				inner.Go(func() {
					for i := range 25 {
						e := exchangeOf(t, 0, "stop", nil, keyOf(fmt.Sprint(i, g)))
						assert.NoError(t, s.put(e), "writer %d", w)
					}
				})
			}
			inner.Wait()
		})
	}
	wg.Wait()
	s, err := OpenStore(context.Background(), path)
	require.NoError(t, err)
	defer s.Close()
	n, err := s.Count(context.Background())
	require.NoError(t, err)
	assert.Equal(t, int64(200), n)
}

// stageOn runs one prompt on a store and says how many requests were made.
func stageOn(t *testing.T, path string) (requests int, err error) {
	teacher := testkit.StartTeacher(t, &testkit.Teacher{})
	_, err = run(context.Background(), newStage(t, teacher, inStore(path)), questions(2))
	return teacher.Requests(), err
}

// A store that cannot be used is an error before a request is sent.
func TestUnusableStore(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, data, 0o600))
		return path
	}
	made := func(name string, change func(db *sql.DB)) string {
		path := filepath.Join(dir, name)
		s, err := OpenStore(context.Background(), path)
		require.NoError(t, err)
		for i := range 2000 {
			e := exchangeOf(t, 0, "stop", nil, keyOf(fmt.Sprint(i)))
			e.ready = make(chan struct{})
			require.NoError(t, s.submit(job{exchange: e}))
		}
		require.NoError(t, s.Close())
		db, err := sql.Open("sqlite3", path)
		require.NoError(t, err)
		change(db)
		require.NoError(t, db.Close())
		return path
	}
	exec := func(query string) func(*sql.DB) {
		return func(db *sql.DB) {
			_, err := db.Exec(query)
			require.NoError(t, err)
		}
	}
	torn := made("torn.db", func(*sql.DB) {})
	data, err := os.ReadFile(torn)
	require.NoError(t, err)
	scrambled := bytes.Clone(data)
	for i := 8192; i < 8192+4096*3; i++ {
		scrambled[i] ^= 0xa5
	}
	for name, tc := range map[string]struct{ path, says string }{
		"not a database":     {file("text.db", []byte("these are no answers")), "not a response store, or is damaged"},
		"cut in half":        {file("half.db", data[:len(data)/2]), "damaged"},
		"flipped bytes":      {file("flipped.db", scrambled), "damaged"},
		"a directory":        {dir, "is a directory"},
		"under a file":       {filepath.Join(file("plain", nil), "x.db"), "distill.store"},
		"nowhere to write":   {"/proc/stillhouse/responses.db", "distill.store"},
		"of another program": {made("other.db", exec(`PRAGMA application_id = 7`)), "another program"},
		"of a later version": {made("later.db", exec(`PRAGMA user_version = 99`)), "use a newer stillhouse"},
	} {
		requests, err := stageOn(t, tc.path)
		require.ErrorContains(t, err, tc.says, name)
		assert.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err), name)
		assert.Zero(t, requests, name)
	}
	for name, tc := range map[string]struct {
		pragmas, says string
		kind          stillhouse.Kind
	}{
		"read-only": {"&_query_only=1", "cannot be written", stillhouse.Invalid},
	} {
		_, err := openStore(context.Background(), torn, tc.pragmas)
		require.ErrorContains(t, err, tc.says, name)
		assert.Equal(t, tc.kind, stillhouse.KindOf(err), name)
	}
}

// On a disk that is full, or nearly so, no answer is paid for.
func TestFullDiskAtTheBeginning(t *testing.T) {
	defer func(as func(string) int64) { freeBytes = as }(freeBytes)
	freeBytes = func(string) int64 { return 1 << 20 }
	requests, err := stageOn(t, filepath.Join(t.TempDir(), "responses.db"))
	require.ErrorContains(t, err, "its disk has 1048576 bytes free, and at least 33554432 are needed")
	assert.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err))
	assert.Zero(t, requests)
}

// A disk that fills up in the middle of a run ends it, and what is in the store stays usable.
func TestFullDisk(t *testing.T) {
	teacher := testkit.StartTeacher(t, &testkit.Teacher{})
	d := newStage(t, teacher)
	require.NoError(t, d.Open(context.Background()))
	require.NoError(t, d.asker.store.Close())
	store, err := openStore(context.Background(), d.Store, "", `PRAGMA max_page_count = 24`)
	require.NoError(t, err)
	d.asker.store = store
	_, err = run(context.Background(), d, questions(2000))
	require.ErrorContains(t, err, "the disk is full")
	require.ErrorContains(t, err, "run again")
	asked := teacher.Requests()
	require.Less(t, asked, 2000)
	require.NoError(t, d.Close())
	again := newStage(t, teacher, inStore(d.Store))
	r := mustRun(t, again, questions(300))
	assert.Len(t, r.Rows, 1200)
	assert.Positive(t, again.Requests().FromStore)
}

// An answer whose bytes have changed is an error, not an answer.
func TestDamagedAnswer(t *testing.T) {
	s := newStore(t)
	k := keyOf("a")
	put(t, s, 0, "stop", "some answer that is long enough to be worth packing, packing, packing", k)
	_, err := s.db.Exec(`UPDATE responses SET body = substr(body, 1, length(body) - 6) || x'000000000000'`)
	require.NoError(t, err)
	_, err = s.Get(context.Background(), []Key{k}, 0)
	require.ErrorContains(t, err, "damaged")
	assert.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err))
}
