package filter

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"stillhouse"
	"stillhouse/internal/minhash"
)

func TestExact(t *testing.T) {
	rows := []stillhouse.Sample{
		row("a", 0, "What is it?", "Ｆｕｌｌ width, STRASSE"),
		row("b", 0, "what  is\nIT?", "full width,\tstraße"),
		row("c", 0, "What is it?", "Another"),
		row("a", 1, "What is it?", "A third"),
		row("d", 0, "What else?", "ANOTHER"),
	}
	copyOf := func(what, id string) string { return fmt.Sprintf("exact: the same %s as prompt %q sample 0", what, id) }
	require.Equal(t, []string{"", copyOf("prompt and completion", "a"), "", "", ""}, outcomes(t, `[exact]`, rows...))
	require.Equal(t, []string{"", copyOf("completion", "a"), "", "", copyOf("completion", "c")}, outcomes(t, `[{exact: {on: completion}}]`, rows...))
	require.Equal(t, []string{"", copyOf("prompt", "a"), copyOf("prompt", "a"), "", ""}, outcomes(t, `[{exact: {on: prompt}}]`, rows...),
		"rows of one prompt share it and are no copies")
	// One message may not look like two.
	two := row("e", 0, "x", "y")
	two.Prompt = append(two.Prompt, stillhouse.Message{Role: "user", Content: "z"})
	require.Equal(t, []string{"", ""}, outcomes(t, `[exact]`, two, row("f", 0, "x\nuser 1 z", "y")))
}

// prompts makes one row for each prompt.
func prompts(texts ...string) (rows []stillhouse.Sample) {
	for i, text := range texts {
		rows = append(rows, row(fmt.Sprint("p", i), 0, text, fmt.Sprint("answer ", i)))
	}
	return rows
}

func TestMinHash(t *testing.T) {
	const base = "Write a short story about a lighthouse keeper who finds a letter in a bottle on the beach one stormy morning in autumn"
	got := outcomes(t, `[{minhash: {threshold: 0.8}}]`, prompts(
		base,
		strings.ToUpper(base)+"!",
		"Please "+base,
		strings.Replace(base, "lighthouse keeper", "fisherman", 1),
		"Write a long poem about a fisherman",
		"",
		"",
		"?",
		"Why?",
		"why",
		"Why not?",
		"請寫一個關於燈塔管理員在海灘上發現瓶中信的短篇故事",
		"請寫一個關於燈塔管理員在海灘上發現瓶中信的短篇故事。",
		"請寫一個關於漁夫在山上發現寶藏的短篇故事",
	)...)
	near := func(similarity, id string) string {
		return fmt.Sprintf("minhash: prompt %s similar to that of prompt %q sample 0", similarity, id)
	}
	require.Equal(t, []string{"", near("1.000", "p0"), near("0.955", "p0"), "", "", "", "", "", "", near("1.000", "p8"), "", "", near("1.000", "p11"), ""}, got)
}

// TestMinHashArithmetic: problems of one template with other numbers are other problems, however long the template is.
func TestMinHashArithmetic(t *testing.T) {
	var rows []stillhouse.Sample
	for i := range 200 {
		rows = append(rows, prompts(fmt.Sprintf("Tom has %d apples. He buys %d more at the market and gives %d of them to Ann. How many apples does Tom have now?", i%40, 50+i, 3+i%7))...)
	}
	long := "In a small town by the river there is a bakery that opens early every morning except on Sundays, and its owner likes to count what is sold. One day the baker sells %s rolls before noon. How many rolls are that in a week of six days when every day is like this one?"
	for _, n := range []string{"12", "13", "1,200", "1200.5", "-12", "twelve", "thirteen"} {
		rows = append(rows, prompts(fmt.Sprintf(long, n))...)
	}
	rows = append(rows, prompts("What is 3+4?", "What is 3-4?", "What is 4+3?", "What is 3*4?", "What is 3 + 4 ?")...)
	for i := range rows {
		rows[i].PromptID = fmt.Sprint("r", i)
	}
	got := outcomes(t, `[minhash]`, rows...)
	for i, o := range got[:len(got)-1] {
		require.Empty(t, o, "%q", rows[i].Prompt[0].Content)
	}
	require.Contains(t, got[len(got)-1], "1.000 similar", "the same numbers and signs")
	same := outcomes(t, `[{minhash: {ignore_numbers: true}}]`, prompts(fmt.Sprintf(long, "12"), fmt.Sprintf(long, "13"))...)
	require.Contains(t, same[1], "similar", "unless numbers are to be ignored")
}

func TestMinHashSystemMessage(t *testing.T) {
	system := stillhouse.Message{Role: "system", Content: strings.Repeat("You are a careful assistant who answers at length. ", 20)}
	rows := prompts("Name a river.", "Name a mountain in Asia.")
	for i := range rows {
		rows[i].Prompt = append([]stillhouse.Message{system}, rows[i].Prompt...)
	}
	require.Equal(t, []string{"", ""}, outcomes(t, `[minhash]`, rows...), "a system message that all share makes no duplicates")
}

// TestMinHashExact holds the rule against the comparison of all pairs: no false drop at all, and hardly a miss.
func TestMinHashExact(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	vocabulary := make([]string, 300)
	for i := range vocabulary {
		vocabulary[i] = string(rune('a'+i%26)) + string(rune('a'+i/26)) + "q"
	}
	var texts []string
	for range 150 {
		words := make([]string, 20+rng.IntN(40))
		for i := range words {
			words[i] = vocabulary[rng.IntN(len(vocabulary))]
		}
		texts = append(texts, strings.Join(words, " "))
		for range 3 { // with one to three words changed
			near := append([]string{}, words...)
			for range 1 + rng.IntN(3) {
				near[rng.IntN(len(near))] = vocabulary[rng.IntN(len(vocabulary))]
			}
			texts = append(texts, strings.Join(near, " "))
		}
	}
	rows := prompts(texts...)
	got := outcomes(t, `[{minhash: {threshold: 0.8}}]`, rows...)
	var kept [][]uint64
	dropped, missed := 0, 0
	for i, r := range rows {
		words, _ := split(r.Prompt)
		s := minhash.Shingles(words, 3)
		best := 0.0
		for _, k := range kept {
			best = max(best, minhash.Jaccard(k, s))
		}
		switch {
		case got[i] != "":
			dropped++
			require.GreaterOrEqual(t, best, 0.8, "dropped: %s", got[i])
			require.Contains(t, got[i], fmt.Sprintf("%.3f", best), "the nearest row is named")
			continue
		case best >= 0.8:
			missed++
			t.Logf("missed %q at %v, %d shingles", r.Prompt[0].Content, best, len(s))
		}
		kept = append(kept, s)
	}
	require.Greater(t, dropped, 100)
	require.Zero(t, missed)
}
