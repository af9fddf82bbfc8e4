package grow

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse"
)

func TestOptionsAreChecked(t *testing.T) {
	for says, o := range map[string]Options{
		"target: is 0: say how many":                       {},
		`method: is "evol": it must be`:                    {Method: "evol", Target: 1},
		"round: is -1":                                     {Target: 1, Round: -1},
		"max_requests: is -1":                              {Target: 1, MaxRequests: -1},
		"max_tokens: is -1":                                {Target: 1, MaxTokens: -1},
		"temperature: is 0: one request":                   {Target: 1, Temperature: new(0.0)},
		"temperature: is 9":                                {Target: 1, Temperature: new(9.0)},
		"top_p: is 0":                                      {Target: 1, TopP: new(0.0)},
		`near: is "cosine": it must be rouge-l or minhash`: {Target: 1, Near: "cosine"},
		"threshold: is 1.5":                                {Target: 1, Threshold: 1.5},
		"max_words: is 2: it must be 4 to":                 {Target: 1, MaxWords: 2},
		"demonstrations: is 101":                           {Target: 1, Demonstrations: 101},
		"bootstrapped: is 8: it must be 0 to 7":            {Target: 1, Bootstrapped: new(8)},
		"tasks: is -2":                                     {Target: 1, Tasks: -2},
		`forbidden[1]: is "^ ", which is in every prompt`:  {Target: 1, Forbidden: &[]string{"a", "^ "}},
		"tokenizer: is for method: magpie":                 {Target: 1, Tokenizer: "x"},
		"instruction: is no Jinja template: line 1":        {Target: 1, Instruction: "{{"},
		"tokenizer: is missing: name the model":            {Target: 1, Method: Magpie},
		`via: is "post": it must be completions or chat`:   {Target: 1, Method: Magpie, Via: "post"},
		"via: is chat, where the server":                   {Target: 1, Method: Magpie, Via: ViaChat, Tokenizer: "x"},
		"pre_query: is the whole text":                     {Target: 1, Method: Magpie, PreQuery: "x", System: "y"},
		"method: is magpie, which shows nothing":           {Target: 1, Method: Magpie, PreQuery: "x", Tasks: 3},
	} {
		o.EnsureDefaults()
		err := o.Validate()
		require.ErrorContains(t, err, says)
		assert.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err))
	}
	for _, o := range []Options{{Target: 1}, {Target: 1, Method: Magpie, PreQuery: "x"}, {Target: 1, Method: Magpie, Via: ViaChat}, {Target: 1, Demonstrations: 1}, {Target: 1, Forbidden: &[]string{}}} {
		o.EnsureDefaults()
		require.NoError(t, o.Validate())
	}
	o := Options{Target: 100}
	o.EnsureDefaults()
	assert.Equal(t, 130, o.MaxRequests)
	o = Options{Target: 100, Method: Magpie, Via: ViaChat}
	o.EnsureDefaults()
	assert.Equal(t, 1000, o.MaxRequests)
}

func TestCut(t *testing.T) {
	o := Options{Target: 1}
	o.EnsureDefaults()
	m, err := newSelfInstruct(&o)
	require.NoError(t, err)
	for text, want := range map[string]string{
		"9. one\n10. two\nEND\nBye":                        "one|two",
		"9) one\n10) two":                                  "one|two",
		"Here:\n1. one\n2. two":                            "one|two",
		"**9. one two**\n**10.** three":                    "one two|three",
		"### Task 9: one\n\n### Task 10: two":              "one|two",
		"9. Explain **bold** and **this**\n10. \"quoted\"": "Explain **bold** and **this**|quoted",
		"9. Explain **bold**":                              "Explain **bold**",
		"9. Sort:\n1. pear\n2. fig\n\n10. Add 3.\n11. two": "Sort:\n1. pear\n2. fig|Add 3.|two",
		"9. Answer A or B:\n\nA) x\nB) y\n---\n10. next":   "Answer A or B:\n\nA) x\nB) y|next",
		"9. one\n11. not the next number\n10. two":         "one\n11. not the next number|two",
		"no list":                      "",
		"":                             "",
		"5. neither the first nor one": "",
		"9. In 1990. what happened\n10. The END of it\n*END*": "In 1990. what happened|The END of it",
	} {
		var got []string
		for _, it := range m.cut(Answer{Text: text}, asked{first: 9}) {
			got = append(got, it.text)
		}
		assert.Equal(t, want, strings.Join(got, "|"), text)
	}
	items := m.cut(Answer{Text: "9. one\n10. tw", Truncated: true}, asked{first: 9})
	assert.Equal(t, "truncated", items[1].reason)
	items = m.cut(Answer{Text: "9. one\nEND\nand mo", Truncated: true}, asked{first: 9})
	assert.Empty(t, items[0].reason, "the list was whole")
}

func FuzzCut(f *testing.F) {
	for _, s := range []string{"9. one\n10. two\nEND", "**9.** x\n", "1. a\n2. b\r\n3. ", "\n\n9)"} {
		f.Add(s)
	}
	o := Options{Target: 1}
	o.EnsureDefaults()
	m, err := newSelfInstruct(&o)
	require.NoError(f, err)
	j := newJudge(&o)
	f.Fuzz(func(t *testing.T, text string) {
		for _, it := range m.cut(Answer{Text: text}, asked{first: 9}) {
			if strings.TrimSpace(it.text) != it.text {
				t.Fatalf("%q: %q is not trimmed", text, it.text)
			}
			if got, _ := j.judge(it.text); got.reason == "" && len(strings.Fields(got.text)) == 0 {
				t.Fatalf("%q: an empty prompt is kept", text)
			}
		}
	})
}

func TestForbidden(t *testing.T) {
	o := Options{Target: 1, Forbidden: &[]string{"go to", "^begin", "图片", "c++"}, MinWords: 1}
	o.EnsureDefaults()
	j := newJudge(&o)
	for text, want := range map[string]bool{
		"Go  to the shop": true, "begotten goods": false, "Begin now": true, "to begin now": false, "请看这张图片吧": true, "Write C++, now": true, "forgo to": false,
	} {
		it, _ := j.judge(text)
		assert.Equal(t, want, it.reason == "forbidden", text)
	}
}
