package distill

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse"
	"stillhouse/internal/testkit"
)

func exportOf(t testing.TB, path string, s Selection) (data []byte, e Exported, damages []Damage) {
	r, err := ReadStore(context.Background(), path)
	require.NoError(t, err)
	defer func() { assert.NoError(t, r.Close()) }()
	var b bytes.Buffer
	e, err = r.Export(context.Background(), &b, s, func(d Damage) { damages = append(damages, d) })
	require.NoError(t, err)
	return b.Bytes(), e, damages
}

func importInto(t testing.TB, path, from string) (Exported, error) {
	s, err := OpenStore(context.Background(), path)
	require.NoError(t, err)
	defer func() { assert.NoError(t, s.Close()) }()
	return s.Import(context.Background(), from)
}

func fileWith(t testing.TB, data []byte) string {
	path := filepath.Join(t.TempDir(), "export.jsonl.zst")
	require.NoError(t, os.WriteFile(path, data, 0o600))
	return path
}

func unzstd(t testing.TB, data []byte) []byte {
	z, err := zstd.NewReader(bytes.NewReader(data))
	require.NoError(t, err)
	defer z.Close()
	plain, err := io.ReadAll(z)
	require.NoError(t, err)
	return plain
}

// replay asks for all that earlierRuns asked for, of an endpoint that refuses everything, and compares the rows.
func replay(t *testing.T, path string, want map[string][]string) {
	for _, e := range earlierRuns {
		teacher := testkit.StartTeacher(t, &testkit.Teacher{Fault: func(testkit.Call) *testkit.Fault { return testkit.Status(400, "no", "") }})
		d := newStage(t, teacher, inStore(path), e.change)
		assert.Empty(t, cmp.Diff(want[e.name], rowsOf(mustRun(t, d, earlierPrompts()))), e.name)
		assert.Zero(t, teacher.Requests(), e.name)
		require.NoError(t, d.Close())
	}
}

// A store that was moved, by an export or as a file, answers as it did before, and importing twice is importing once.
func TestMovedStore(t *testing.T) {
	path, rows := filledStore(t, t.TempDir())
	data, e, damages := exportOf(t, path, Selection{})
	assert.Equal(t, Exported{Responses: 96, Answers: 175}, e)
	assert.Empty(t, damages)
	plain := unzstd(t, data)
	for name, from := range map[string]string{"export": fileWith(t, data), "unpacked": fileWith(t, plain), "store": path} {
		moved := filepath.Join(t.TempDir(), "moved.db")
		got, err := importInto(t, moved, from)
		require.NoError(t, err, name)
		assert.Equal(t, Exported{Responses: 96, Answers: 175}, got, name)
		again, err := importInto(t, moved, from)
		require.NoError(t, err, name)
		assert.Equal(t, Exported{Responses: 96, LeftOut: 175}, again, name)
		v := verify(t, moved)
		assert.True(t, v.Whole(), name)
		assert.Equal(t, []int64{96, 175, 0}, []int64{v.Responses, v.Answers, v.Unused}, name)
		anew, _, _ := exportOf(t, moved, Selection{})
		assert.Equal(t, data, anew, "%s: the same export, to the byte", name)
		replay(t, moved, rows)
	}
	_, err := importInto(t, path, path)
	require.ErrorContains(t, err, "the very store")
}

// Two stores that were filled apart become one that has the answers of both; where both have one, the own stays.
func TestMergedStores(t *testing.T) {
	one := testkit.StartTeacher(t, &testkit.Teacher{})
	other := testkit.StartTeacher(t, &testkit.Teacher{Answer: func(c testkit.Call) testkit.Choice { return testkit.Choice{Content: "other: " + c.Prompt()} }})
	a, b := newStage(t, one), newStage(t, other)
	first := mustRun(t, a, questions(20))
	second := mustRun(t, b, questions(30)[10:])
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())
	data, _, _ := exportOf(t, b.Store, Selection{})
	got, err := importInto(t, a.Store, fileWith(t, data))
	require.NoError(t, err)
	assert.Equal(t, Exported{Responses: 20, Answers: 40, LeftOut: 40}, got)
	assert.True(t, verify(t, a.Store).Whole())

	silent := testkit.StartTeacher(t, &testkit.Teacher{Fault: func(testkit.Call) *testkit.Fault { return testkit.Status(400, "no", "") }})
	merged := mustRun(t, newStage(t, silent, inStore(a.Store)), questions(30))
	assert.Zero(t, silent.Requests())
	assert.Equal(t, append(first.texts(), second.texts()[40:]...), merged.texts())
}

func TestExportOfAPart(t *testing.T) {
	path, _ := filledStore(t, t.TempDir())
	for want, s := range map[Exported]Selection{
		{Responses: 36, Answers: 36}: {Teacher: "single"},
		{Responses: 24, Answers: 96}: {Teacher: "test", Model: "m"},
		{}:                           {Model: "other"},
	} {
		data, e, _ := exportOf(t, path, s)
		assert.Equal(t, want, e)
		got, err := importInto(t, filepath.Join(t.TempDir(), "part.db"), fileWith(t, data))
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
}

// A file that is no whole export ends the import with the line that is wrong, and no wrong answer gets into the store.
func TestDamagedExport(t *testing.T) {
	path, _ := filledStore(t, t.TempDir())
	data, _, _ := exportOf(t, path, Selection{})
	plain := unzstd(t, data)
	lines := strings.SplitAfter(string(plain), "\n")
	changed := func(line int, from, to string) []byte {
		copied := append([]string{}, lines...)
		copied[line] = strings.Replace(copied[line], from, to, 1)
		require.NotEqual(t, lines[line], copied[line])
		return []byte(strings.Join(copied, ""))
	}
	flipped := bytes.Clone(data)
	flipped[len(flipped)/2] ^= 4
	for name, tc := range map[string]struct {
		data []byte
		says string
	}{
		"text":           {[]byte("these are no answers"), "not what `stillhouse store export` writes"},
		"empty":          {nil, "not what `stillhouse store export` writes"},
		"other JSON":     {[]byte(`{"a": 1}` + "\n"), "not what `stillhouse store export` writes"},
		"later format":   {changed(0, `"format":1`, `"format":9`), "use a newer stillhouse"},
		"cut off":        {data[:len(data)/2], "damaged or cut off"},
		"lines cut off":  {[]byte(strings.Join(lines[:20], "")), "line 21: the file is cut off"},
		"a flipped bit":  {flipped, "damaged or cut off"},
		"another answer": {changed(7, `finish_reason\":\"stop`, `finish_reason\":\"halt`), "line 8: it is not what was written"},
		"another limit":  {changed(7, `"max_tokens":`, `"max_tokens":1`), "line 8: it is not what was written"},
		"a line less":    {[]byte(strings.Join(append(append([]string{}, lines[:9]...), lines[10:]...), "")), "it says that there are 96 responses"},
		"half a line":    {[]byte(strings.Join(lines[:9], "") + lines[9][:40]), "line 10: it is not one of an export"},
		"after the end":  {[]byte(string(plain) + lines[3]), "something after the end"},
	} {
		into := filepath.Join(t.TempDir(), "into.db")
		_, err := importInto(t, into, fileWith(t, tc.data))
		require.ErrorContains(t, err, tc.says, name)
		assert.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err), name)
		assert.True(t, verify(t, into).Whole(), name)
	}
}

// What was written by hand, with a right checksum, is refused where a key is not that of its request.
func TestImportOfAWrongKey(t *testing.T) {
	l := exportLine{Teacher: "test", Request: `{"messages":[],"model":"m"}`, Header: "{}", Body: `{"choices":[{"message":{"content":"a"}}]}`,
		Answers: []exportAnswer{{Key: strings.Repeat("00", 32)}}}
	l.Checksum = l.checksum()
	assert.Contains(t, l.wrong(), "is not that of its request")
	l.Answers[0].Key = "x"
	l.Checksum = l.checksum()
	assert.Contains(t, l.wrong(), "is no key")
	l.Body = `{"choices":[]}`
	l.Checksum = l.checksum()
	assert.Contains(t, l.wrong(), "its body is no answer")
}

// Of a store with pages that cannot be read, verify says what is whole, and export saves just that.
func TestWhatIsWholeOfADamagedStoreIsSaved(t *testing.T) {
	const prompts, page = 600, 4096
	teacher := testkit.StartTeacher(t, &testkit.Teacher{})
	d := newStage(t, teacher, func(d *Distill) { d.Samples = Exactly(2) })
	all := mustRun(t, d, questions(prompts))
	require.NoError(t, d.Close())
	data, err := os.ReadFile(d.Store)
	require.NoError(t, err)
	for _, places := range [][]int{{30}, {60, 61, 62}, {20, 40, 80, 100}} {
		damaged := bytes.Clone(data)
		for _, at := range places {
			require.Less(t, (at+1)*page, len(damaged))
			for i := at * page; i < (at+1)*page; i++ {
				damaged[i] ^= 0x5a
			}
		}
		path := fileWith(t, damaged)
		v := verify(t, path)
		assert.False(t, v.Whole())
		assert.NotEmpty(t, v.Damages)
		assert.Greater(t, v.Answers, int64(prompts), "most of it is whole")
		saved, e, damages := exportOf(t, path, Selection{})
		assert.NotEmpty(t, damages)
		assert.Equal(t, v.Answers, e.Answers)
		into := filepath.Join(t.TempDir(), "saved.db")
		got, err := importInto(t, into, fileWith(t, saved))
		require.NoError(t, err)
		assert.Equal(t, e.Answers, got.Answers)
		assert.True(t, verify(t, into).Whole())
		before := teacher.Requests()
		again := newStage(t, teacher, inStore(into), func(d *Distill) { d.Samples = Exactly(2) })
		assert.Empty(t, cmp.Diff(all.texts(), mustRun(t, again, questions(prompts)).texts()), "the answers that were saved are the right ones")
		assert.EqualValues(t, e.Answers, again.Requests().FromStore)
		assert.Less(t, teacher.Requests()-before, prompts/2)
	}
}

// An answer that is not UTF-8 is moved as it is.
func TestExportOfBytes(t *testing.T) {
	ctx := context.Background()
	s := newStore(t)
	o := Options{Endpoint: "http://127.0.0.1:1/v1", Model: "m"}
	o.EnsureDefaults()
	q, err := newQuery(&o, questions(1)[0])
	require.NoError(t, err)
	request, err := q.body(0, 1)
	require.NoError(t, err)
	body := []byte("{\"choices\": [{\"message\":\t{\"content\": \"\xff\u2028<>\"}}]}\r\n")
	r, err := parseReply(body)
	require.NoError(t, err)
	require.NoError(t, s.put(&exchange{teacher: o.teacher(), model: "m", keys: q.keys, reply: r, request: pack(request), header: pack([]byte("{}")), body: pack(body)}))
	path := s.Path()
	data, _, damages := exportOf(t, path, Selection{})
	assert.Empty(t, damages)
	into := filepath.Join(t.TempDir(), "into.db")
	_, err = importInto(t, into, fileWith(t, data))
	require.NoError(t, err)
	reader, err := ReadStore(ctx, into)
	require.NoError(t, err)
	defer reader.Close()
	found, err := reader.Show(ctx, fmt.Sprint(q.keys[0])[:8])
	require.NoError(t, err)
	require.Len(t, found, 1)
	assert.Equal(t, string(body), found[0].Body)
	assert.Equal(t, string(request), found[0].Request)
}
