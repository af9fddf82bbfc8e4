package distill

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"stillhouse"
	"stillhouse/internal/options"
	"stillhouse/internal/testkit"
)

// decodeOptions reads a block `distill:` of a config.
func decodeOptions(t *testing.T, text string) (o Options, err error) {
	t.Helper()
	var doc yaml.Node
	require.NoError(t, yaml.Unmarshal([]byte(text), &doc))
	if err := options.Decode(doc.Content[0], &o); err != nil {
		return o, err
	}
	o.EnsureDefaults()
	return o, o.Validate()
}

const aTool = `[{"type":"function","function":{"name":"add","parameters":{"type":"object","properties":{"b":{"type":"number"},"a":{"type":"number"}}}}}]`

func TestAllThatCanBeSent(t *testing.T) {
	dir := t.TempDir()
	schema := filepath.Join(dir, "schema.json")
	require.NoError(t, os.WriteFile(schema, []byte("{\"type\": \"object\",\n \"properties\": {\"why\": {\"type\": \"string\"}, \"answer\": {\"type\": \"integer\"}}}"), 0o600))
	o, err := decodeOptions(t, `
endpoint: http://127.0.0.1:1/v1
model: m
samples: 1
seed: -1
temperature: 0.5
max_tokens: 9
presence_penalty: 0
frequency_penalty: -0.5
reasoning_effort: low
logprobs: true
top_logprobs: 2
response_format: {type: json_schema, json_schema: `+schema+`}
tools:
  - type: function
    function: {name: add, parameters: {type: object, properties: {b: {type: number}, a: {type: number}}}}
tool_choice: {type: function, function: {name: add}}
parallel_tool_calls: false
stream: true
extra_body: {top_k: 20, logit_bias: {"50256": -100}, chat_template_kwargs: {enable_thinking: false}}
`)
	require.NoError(t, err)
	require.NoError(t, o.ReadFiles())
	q, err := newQuery(&o, questions(1)[0])
	require.NoError(t, err)
	body, err := q.body(0, 1)
	require.NoError(t, err)
	assert.Equal(t, `{"chat_template_kwargs":{"enable_thinking":false},"frequency_penalty":-0.5,"logit_bias":{"50256":-100},"logprobs":true,"max_tokens":9,`+
		`"messages":[{"role":"user","content":"What is 0 + 0?"}],"model":"m","parallel_tool_calls":false,"presence_penalty":0,"reasoning_effort":"low",`+
		`"response_format":{"json_schema":{"name":"answer","schema":{"type":"object","properties":{"why":{"type":"string"},"answer":{"type":"integer"}}},"strict":true},"type":"json_schema"},`+
		`"stream":true,"stream_options":{"include_usage":true},"temperature":0.5,"tool_choice":{"function":{"name":"add"},"type":"function"},"tools":`+aTool+`,"top_k":20,"top_logprobs":2}`, string(body))

	// What is written out says the same, with the files in it, and is read again.
	written, err := yaml.Marshal(&o)
	require.NoError(t, err)
	assert.NotContains(t, string(written), schema)
	var again Options
	var doc yaml.Node
	require.NoError(t, yaml.Unmarshal(written, &doc))
	require.NoError(t, options.Decode(doc.Content[0], &again))
	assert.Empty(t, cmp.Diff(o, again))
	data, err := json.Marshal(&o)
	require.NoError(t, err)
	again = Options{}
	require.NoError(t, json.Unmarshal(data, &again))
	same, err := newQuery(&again, questions(1)[0])
	require.NoError(t, err)
	assert.Equal(t, q.keys, same.keys)
}

func TestEveryNewParameterIsPartOfTheKey(t *testing.T) {
	base := Options{Endpoint: "http://127.0.0.1:1/v1", Model: "m", Samples: Exactly(2)}
	seen := map[Key]string{}
	add := func(name string, change func(*Options)) *query {
		o := base
		change(&o)
		o.EnsureDefaults()
		require.NoError(t, o.ReadFiles(), name)
		q, err := newQuery(&o, questions(1)[0])
		require.NoError(t, err)
		return q
	}
	document := func(text string) *options.Document { return &options.Document{JSON: json.RawMessage(text)} }
	tools := func(o *Options) { o.Tools = document(aTool) }
	for name, change := range map[string]func(*Options){
		"base":                func(*Options) {},
		"presence_penalty":    func(o *Options) { o.PresencePenalty = new(0.5) },
		"presence_penalty 0":  func(o *Options) { o.PresencePenalty = new(0.0) },
		"frequency_penalty":   func(o *Options) { o.FrequencyPenalty = new(0.5) },
		"reasoning_effort":    func(o *Options) { o.ReasoningEffort = "high" },
		"logprobs":            func(o *Options) { o.LogProbs = true },
		"top_logprobs":        func(o *Options) { o.LogProbs, o.TopLogProbs = true, 2 },
		"tools":               tools,
		"tool_choice":         func(o *Options) { tools(o); o.ToolChoice = "required" },
		"parallel_tool_calls": func(o *Options) { tools(o); o.ParallelToolCalls = new(false) },
		"json_object":         func(o *Options) { o.ResponseFormat = &ResponseFormat{Type: "json_object"} },
		"json_schema": func(o *Options) {
			o.ResponseFormat = &ResponseFormat{Type: "json_schema", JSONSchema: document(`{"properties":{"a":{},"b":{}}}`)}
		},
		"json_schema in another order": func(o *Options) {
			o.ResponseFormat = &ResponseFormat{Type: "json_schema", JSONSchema: document(`{"properties":{"b":{},"a":{}}}`)}
		},
		"system 1": func(o *Options) { o.System = "a" },
		"system 2": func(o *Options) { o.System = "b" },
	} {
		for i, k := range add(name, change).keys {
			assert.Empty(t, seen[k], "%s sample %d has the key of %s", name, i, seen[k])
			seen[k] = name
		}
	}
	for name, change := range map[string]func(*Options){
		"stream":                    func(o *Options) { o.Stream = true },
		"stream_usage":              func(o *Options) { o.Stream, o.StreamUsage = true, new(false) },
		"reasoning_tags":            func(o *Options) { o.ReasoningTags = []string{"<think>", "</think>"} },
		"keep_system":               func(o *Options) { o.KeepSystem = true },
		"tool_choice without tools": func(o *Options) { o.ToolChoice = "required" },
	} {
		assert.Equal(t, "base", seen[add(name, change).keys[0]], "%s is not part of the key", name)
	}
	assert.Equal(t, "system 1", seen[add("systems", func(o *Options) { o.Systems = []string{"a"} }).keys[0]], "how a text comes to be the system prompt is not part of the key")
}

func TestToolsOfTheRunAndOfARow(t *testing.T) {
	teacher := testkit.StartTeacher(t, &testkit.Teacher{})
	ps := questions(2)
	ps[1].Tools = new(`[{"type":"function","function":{"name":"own"}}]`)
	d := newStage(t, teacher, func(d *Distill) {
		d.Samples, d.Tools, d.ToolChoice = Exactly(2), &options.Document{JSON: json.RawMessage(aTool)}, "auto"
	})
	rows := mustRun(t, d, ps).Rows
	require.Len(t, rows, 4)
	for i, c := range rows {
		want := aTool
		if i >= 2 {
			want = *ps[1].Tools
		}
		assert.Equal(t, want, *c.Tools, "what was sent is in the row")
	}
	for _, c := range teacher.Calls() {
		assert.Equal(t, c.Prompt() == question(1), strings.Contains(string(c.Tools), "own"))
		assert.Equal(t, `"auto"`, string(c.Fields["tool_choice"]))
	}
}

// A conversation with tool calls is sent as it is, and stays in the row.
func TestMessagesInFull(t *testing.T) {
	teacher := testkit.StartTeacher(t, &testkit.Teacher{})
	full := `[{"role":"user","content":"Add."},{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"add","arguments":"{}"}}]},` +
		`{"role":"tool","content":"4","tool_call_id":"c1"}]`
	p := stillhouse.Prompt{ID: "a", Source: "s", Messages: &full,
		Prompt: []stillhouse.Message{{Role: "user", Content: "Add."}, {Role: "assistant"}, {Role: "tool", Content: "4"}}}
	for _, keep := range []bool{false, true} {
		d := newStage(t, teacher, func(d *Distill) { d.Samples, d.System, d.KeepSystem = Exactly(1), "Be brief.", keep })
		row := mustRun(t, d, []stillhouse.Prompt{p}).Rows[0]
		sent := string(teacher.Calls()[teacher.Requests()-1].Fields["messages"])
		assert.Equal(t, `[{"role":"system","content":"Be brief."},`+full[1:], sent)
		if keep {
			assert.Equal(t, sent, *row.Messages)
			assert.Equal(t, "Be brief.", row.Prompt.Prompt[0].Content)
			assert.Len(t, row.Prompt.Prompt, 4)
			assert.Nil(t, row.System)
		} else {
			assert.Empty(t, cmp.Diff(p, row.Prompt))
			assert.Equal(t, "Be brief.", *row.System)
		}
	}
	p.Messages = new("7")
	r := mustRun(t, newStage(t, teacher), []stillhouse.Prompt{p})
	require.Len(t, r.Failed, 4)
	assert.Contains(t, r.Failed[0], "prompt_messages is not a JSON list of messages")
}

var personas = []string{"You are a baker.", "You are a miller.", "You are a distiller."}

func TestSystemsByPrompt(t *testing.T) {
	teacher := testkit.StartTeacher(t, &testkit.Teacher{})
	d := newStage(t, teacher, func(d *Distill) { d.Systems = personas })
	ps := append(questions(60), stillhouse.Prompt{ID: "own", Source: "s", Prompt: []stillhouse.Message{{Role: "system", Content: "Mine."}, {Role: "user", Content: "Hm?"}}})
	rows := mustRun(t, d, ps).Rows
	assert.Equal(t, 61, teacher.Requests(), "the samples of a prompt share a request")
	used := map[string]int{}
	for i, c := range rows {
		if c.ID == "own" {
			assert.Nil(t, c.System)
			continue
		}
		assert.Equal(t, *rows[i-i%4].System, *c.System)
		used[*c.System]++
		assert.NotEqual(t, "system", c.Prompt.Prompt[0].Role)
	}
	for _, p := range personas {
		assert.Greater(t, used[p], 30, p)
	}
	assert.Empty(t, cmp.Diff(rows, mustRun(t, newStage(t, teacher, inStore(d.Store), func(d *Distill) { d.Systems = personas }), ps).Rows))
	assert.Equal(t, 61, teacher.Requests())
	other := mustRun(t, newStage(t, teacher, func(d *Distill) { d.Systems, d.Seed = personas, new(int64(1)) }), ps).Rows
	same := 0
	for i, c := range other[:240] {
		if *c.System == *rows[i].System {
			same++
		}
	}
	assert.Less(t, same, 160, "another seed draws others")
}

// Samples take the system prompts by turns; what a sample is asked with does not change when there are more of them.
func TestSystemsBySample(t *testing.T) {
	teacher := testkit.StartTeacher(t, &testkit.Teacher{})
	bySample := func(d *Distill) { d.Systems, d.SystemBy, d.Samples = personas, SystemBySample, Exactly(6) }
	d := newStage(t, teacher, bySample)
	rows := mustRun(t, d, questions(10)).Rows
	require.Len(t, rows, 60)
	starts, seeds := map[string]bool{}, map[int64]bool{}
	for i := 0; i < len(rows); i += 6 {
		used := map[string]int{}
		for s := range 6 {
			used[*rows[i+s].System]++
			assert.Equal(t, *rows[i+s%3].System, *rows[i+s].System)
		}
		assert.Equal(t, map[string]int{personas[0]: 2, personas[1]: 2, personas[2]: 2}, used)
		starts[*rows[i].System] = true
	}
	assert.Len(t, starts, 3, "prompts begin at different places")
	for _, c := range teacher.Calls() {
		assert.Equal(t, 1, c.N, "neighbours are asked with different ones")
		seeds[*c.Seed] = true
	}
	assert.Len(t, seeds, 60)
	requests := teacher.Requests()
	more := mustRun(t, newStage(t, teacher, inStore(d.Store), bySample, func(d *Distill) { d.Samples = Exactly(9) }), questions(10)).Rows
	assert.Equal(t, requests+30, teacher.Requests())
	for _, c := range more {
		if c.Sample < 6 {
			var at int
			_, err := fmt.Sscanf(c.ID, "p%d", &at)
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(rows[at*6+int(c.Sample)], c))
		}
	}
	kept := mustRun(t, newStage(t, teacher, inStore(d.Store), bySample, func(d *Distill) { d.KeepSystem = true }), questions(10)).Rows
	assert.Equal(t, requests+30, teacher.Requests(), "keeping it costs nothing")
	for i, c := range kept {
		assert.Equal(t, []stillhouse.Message{{Role: "system", Content: *rows[i].System}, rows[i].Prompt.Prompt[0]}, c.Prompt.Prompt)
		assert.Nil(t, c.System)
	}
}

func TestStructureIsChecked(t *testing.T) {
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken.json")
	require.NoError(t, os.WriteFile(broken, []byte(`{"type": "object"`), 0o600))
	for block, says := range map[string]string{
		"response_format: {}":                                                                        "response_format.type: is missing",
		"response_format: {type: yaml}":                                                              `response_format.type: is "yaml"`,
		"response_format: {type: json_schema}":                                                       "response_format.json_schema: is missing",
		"response_format: {type: json_object, json_schema: a.json}":                                  "response_format.json_schema: is there though type is json_object",
		"response_format: {type: json_schema, json_schema: [1]}":                                     "response_format.json_schema: is not an object",
		"response_format: {type: json_schema, json_schema: {type: textt}}":                           "response_format.json_schema: is not a JSON schema",
		"response_format: {type: json_schema, json_schema: {$ref: 'https://example.com/x'}}":         "refers to https://example.com/x, which is not in it",
		"response_format: {type: json_schema, json_schema: {name: a b, schema: {}}}":                 `response_format.json_schema.name: is "a b"`,
		"response_format: {type: json_schema, json_schema: {name: a, schema: {}, strikt: true}}":     `unknown field "strikt"`,
		"response_format: {type: json_schema, json_schema: " + filepath.Join(dir, "none.json") + "}": "response_format.json_schema: names a file that cannot be read",
		"response_format: {type: json_schema, json_schema: " + broken + "}":                          "is not JSON: unexpected end",
		"{response_format: {type: text}, extra_body: {response_format: {type: x}}}":                  "extra_body.response_format: stands beside distill.response_format",
		"tools: {type: function}":                                                                    "tools: are not a list of tools",
		"tools: [{function: {name: f}}]":                                                             "tools: tool 0 has no type",
		"tools: [{type: function, function: {}}]":                                                    "tools: tool 0 is a function without a name",
		"tools: [{type: function, function: {name: f, parameters: {type: 7}}}]":                      "tool 0 (f): its parameters are not a JSON schema",
		"tools: " + broken:                   "tools: names the file " + broken + ", which is not JSON",
		"tools: '[1'":                        "tools: is not JSON",
		"tools: [{1: {[a]: 2}}]":             "has a list as a key: JSON has texts only",
		"tools: [{type: a, type: b}]":        `tools: has "type" twice`,
		"tool_choice: always":                `tool_choice: is "always"`,
		"tool_choice: [auto]":                "tool_choice: is [auto]",
		"top_logprobs: 3":                    "top_logprobs: is 3, and logprobs is false",
		"{logprobs: true, top_logprobs: 21}": "top_logprobs: is 21",
		"presence_penalty: 3":                "presence_penalty: is 3",
		"frequency_penalty: -2.5":            "frequency_penalty: is -2.5",
		"reasoning_tags: [<think>]":          "reasoning_tags: is",
		"reasoning_tags: [a, a]":             "reasoning_tags: is",
		"{system: a, systems: [b]}":          "systems: cannot stand beside distill.system",
		"systems: [a, b, a]":                 "systems[2]: is the text of systems[0] too",
		"system_by: row":                     `system_by: is "row"`,
		"extra_body: {tool_choice: auto}":    "extra_body.tool_choice: has a key of its own: use distill.tool_choice",
		"extra_body: {stream_options: {}}":   "extra_body.stream_options: has a key of its own: use distill.stream_usage",
	} {
		if !strings.HasPrefix(block, "{") {
			block = "{" + block + "}"
		}
		o, err := decodeOptions(t, "{endpoint: \"http://127.0.0.1:1/v1\", model: m, "+block[1:])
		if err == nil {
			err = o.ReadFiles()
		}
		require.ErrorContains(t, err, says, block)
		assert.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err), block)
	}
	for _, block := range []string{
		"response_format: {type: json_object}", "response_format: {type: text}", "response_format: {type: json_schema, json_schema: {}}",
		"response_format: {type: json_schema, json_schema: {name: a, schema: {$defs: {x: {type: string}}, $ref: '#/$defs/x'}, strict: false}}",
		"extra_body: {response_format: {type: structural_tag}}", "tools: []", "tools: '" + aTool + "'", "tool_choice: required", "systems: []",
	} {
		o, err := decodeOptions(t, "{endpoint: \"http://127.0.0.1:1/v1\", model: m, "+block+"}")
		require.NoError(t, err, block)
		require.NoError(t, o.ReadFiles(), block)
		_, err = newQuery(&o, questions(1)[0])
		require.NoError(t, err, block)
	}
}
