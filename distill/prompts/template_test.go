package prompts

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"stillhouse"
)

func templateOf(t testing.TB, text string) (o Template) {
	require.NoError(t, yaml.Unmarshal([]byte(text), &o), text)
	return o
}

func TestTemplateForms(t *testing.T) {
	user := TemplateMessage{"user", "Q: {{ q }}"}
	for text, want := range map[string]Template{
		"'Q: {{ q }}'": {user},
		"{system: S, user: 'Q: {{ q }}', assistant: A}":                                                  {{"system", "S"}, user, {"assistant", "A"}},
		"[{role: user, content: a}, {role: assistant, content: b}, {role: user, content: 'Q: {{ q }}'}]": {{"user", "a"}, {"assistant", "b"}, user},
		"[]": nil,
	} {
		got := templateOf(t, text)
		assert.Equal(t, want, got, text)
		out, err := yaml.Marshal(got)
		require.NoError(t, err)
		assert.Equal(t, want, templateOf(t, string(out)), text)
		j, err := json.Marshal(got)
		require.NoError(t, err)
		var again Template
		require.NoError(t, json.Unmarshal(j, &again))
		assert.Equal(t, want, again, text)
	}
}

func TestTemplateBuildsTheConversation(t *testing.T) {
	path := lines(t,
		`{"question":"How many?","choices":["one","two"],"hint":"Count.","n":2.50,"a.b":"dotted"}`,
		`{"question":"Why?","choices":[],"hint":null,"n":3,"a.b":"d"}`)
	got, err := read(Rows{Path: Paths{path}, Reference: "n", Template: templateOf(t, `
system: "{{ hint | default('', true) }}"
user: |
  {{ question | trim }}
  {% for c in choices %}
  {{ 'AB'[loop.index0] }}) {{ c }}
  {% endfor %}
  ({{ n }}, {{ row['a.b'] }})`)})
	require.NoError(t, err)
	assert.Equal(t, []stillhouse.Message{{Role: "system", Content: "Count."}, {Role: "user", Content: "How many?\nA) one\nB) two\n(2.5, dotted)"}}, got.Rows[0].Prompt)
	assert.Equal(t, user("Why?\n(3, d)"), got.Rows[1].Prompt, "a system message without text is left out")
	assert.Equal(t, "2.50", *got.Rows[0].Reference)
}

// A template reads the columns that it names, and no others.
func TestTemplateReadsItsColumns(t *testing.T) {
	o := Rows{Path: Paths{promptFile(t, "rows.parquet", parquetOf(t, 3))}, Template: templateOf(t, `"{{ question }} ({{ level }})"`), Meta: []string{"a.b"}}
	m, err := newMaker(&o)
	require.NoError(t, err)
	assert.Equal(t, []string{"a.b", "level", "question"}, m.toRead(false))
	got, err := read(o)
	require.NoError(t, err)
	assert.Equal(t, user("What is 2 + 2? (1)"), got.Rows[2].Prompt)
	o.Template = templateOf(t, `"{{ row.question }}"`)
	m, err = newMaker(&o)
	require.NoError(t, err)
	assert.Empty(t, m.toRead(false), "all")
}

func TestTemplateErrorsNameTheRow(t *testing.T) {
	good := `{"q":"fine","h":"x","xs":[1]}`
	for template, tc := range map[string]struct{ line, says string }{
		`"{{ h }} {{ q }}"`:                                {`{"q":"a","h":null}`, "line 2: template[0]: line 1: h is null: test for it"},
		`"{{ h | upper }} {{ q }}"`:                        {`{"q":"a"}`, "line 2: template[0]: line 1: h is null"},
		`"{% if q == 'a' %}{{ q.x.y }}{% endif %}{{ q }}"`: {`{"q":"a"}`, "template[0]: line 1: 'str object' has no attribute 'x'"},
		`"{{ xs[0] + 1 }} {{ q }}"`:                        {`{"q":"a","xs":["b"]}`, "template[0]: line 1:"},
		`"{{ q }}"`:                                        {`{"q":" \n"}`, "line 2: template[0]: the message of the user is empty"},
		`"{% if q == 'a' %}{{ raise_exception('no a') }}{% endif %}{{ q }}"`: {`{"q":"a"}`, "line 2: template[0]: no a"},
	} {
		o := Rows{Path: Paths{lines(t, good, tc.line, `{"q":"last","h":"y","xs":[3]}`)}, Template: templateOf(t, template)}
		_, err := read(o)
		require.ErrorContains(t, err, tc.says, template)
		assert.ErrorContains(t, err, "on_bad_row: skip", template)
		assert.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err), template)
		o.OnBadRow = OnBadRowSkip
		got, err := read(o)
		require.NoError(t, err, template)
		assert.Len(t, got.Rows, 2, template)
		assert.Equal(t, "line 2", got.Bad[0].Place, template)
	}
}

func TestTemplatesThatCannotBe(t *testing.T) {
	for says, o := range map[string]Rows{
		`template[0]: of the user is no Jinja template: line 1`:                       {Template: templateOf(t, `"{{ q"`)},
		`template[0]: calls strftime_now`:                                             {Template: templateOf(t, `"{{ strftime_now('%Y') }}{{ q }}"`)},
		`template: has no message for the teacher to answer`:                          {Template: templateOf(t, `{system: x}`)},
		`template: ends with the assistant's message`:                                 {Template: templateOf(t, `{user: x, assistant: y}`)},
		`template[0].role: is "usr": did you mean "user"?`:                            {Template: Template{{"usr", "x"}}},
		`template: cannot be beside prompt`:                                           {Template: templateOf(t, `x`), Prompt: "q"},
		`has no column "z", which prompts.template reads: the columns there are h, q`: {Template: templateOf(t, `"{{ q }}{% if z %}{% endif %}"`)},
		`z is null: test for it, as in {% if x %}, or give what stands for it, as in {{ x | default('none', true) }}; there is no column "z" so far: the columns there are h, q`: {Template: templateOf(t, `"{{ z }}"`)},
		`few_shot.count: is 200`:                              {FewShot: &FewShot{Count: 200, Answer: "h"}},
		`few_shot.pool: is 3: it must be more than count (5)`: {FewShot: &FewShot{Count: 5, Pool: 3, Answer: "h"}},
		`few_shot.answer: is missing`:                         {FewShot: &FewShot{}},
		`few_shot.answer: cannot be beside`:                   {FewShot: &FewShot{Answer: "h"}, Template: templateOf(t, `{user: "{{ q }}", assistant: "{{ h }}"}`)},
		`meta: names the column few_shot`:                     {FewShot: &FewShot{Answer: "h"}, Meta: []string{"few_shot"}},
		`few_shot.path: is "hf://x"`:                          {FewShot: &FewShot{Answer: "h", Path: Paths{"hf://x"}}},
	} {
		if len(o.Template) == 0 && o.Prompt == "" {
			o.Prompt = "q"
		}
		o.Path = Paths{lines(t, `{"q":"a","h":"b"}`, `{"q":"c","h":"d"}`)}
		_, err := read(o)
		require.ErrorContains(t, err, says)
		assert.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err), says)
	}
	_, err := read(Rows{Path: Paths{promptFile(t, "x.parquet", parquetOf(t, 2))}, Template: templateOf(t, `"{{ questoin }}"`)})
	require.ErrorContains(t, err, `x.parquet has no column "questoin", which prompts.template reads: the columns there are question, messages, answer, level, a.b`)
}
