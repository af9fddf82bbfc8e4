package reward

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"stillhouse"
	"stillhouse/internal/options"
)

// Model is the reward reward_model: the score that a served model gives prompt and completion.
type Model struct {
	Post      `yaml:",inline"`
	API       string  `yaml:"api" json:"api" doc:"What the address takes and gives: score, classify or rerank of vLLM (rerank is that of Cohere and Jina too); tei_rerank or tei_predict of text-embeddings-inference; json, which is posted model, messages, prompt and completion and whose score is found by path."`
	Model     string  `yaml:"model" json:"model" doc:"The model's name, as the server knows it."`
	Path      string  `yaml:"path" json:"path" doc:"Where the score stands in the answer of json: names and numbers with dots between them, such as data.0.score."`
	Label     string  `yaml:"label" json:"label" doc:"Which class's score is taken where there are several: its number for classify, its name for tei_predict."`
	Chat      bool    `yaml:"chat" json:"chat" doc:"For classify: send messages, for the server to put into the model's template, in place of prompt and completion with an empty line between them."`
	Threshold float64 `yaml:"threshold" json:"threshold" doc:"Scores above it are right, others wrong."`
}

// Validate is an Invalid error for an API that there is none of, or a path that is missing.
func (o *Model) Validate() error {
	if _, ok := rewardAPIs[o.API]; !ok {
		return options.Wrongf("api", "is %q: %s", o.API, options.Nearest(o.API, []string{"score", "classify", "rerank", "tei_rerank", "tei_predict", "json"}))
	}
	if (o.API == "json") != (o.Path != "") {
		return options.Wrongf("path", "is %q: with api: json it must say where the score stands, such as data.0.score; with others it must be left out", o.Path)
	}
	if o.API == "classify" && o.Label != "" {
		if n, err := strconv.Atoi(o.Label); err != nil || n < 0 {
			return options.Wrongf("label", "is %q: classify numbers its classes from 0", o.Label)
		}
	}
	if math.IsNaN(o.Threshold) || math.IsInf(o.Threshold, 0) {
		return options.Wrongf("threshold", "is %v: it must be a finite number", o.Threshold)
	}
	return o.Post.Validate()
}

// New makes the reward.
func (o *Model) New() (Reward, error) {
	return &rewardModel{newPoster(o.Post), *o}, nil
}

// A rewardAPI is the body that an address takes, and where the score stands in its answer.
type rewardAPI struct {
	body func(o *Model, c stillhouse.Candidate) map[string]any
	path func(o *Model) string
}

func at(path string) func(*Model) string {
	return func(*Model) string { return path }
}

// rewardAPIs are those of vLLM 0.11 (docs: serving/openai_compatible_server) and text-embeddings-inference 1.8 (its OpenAPI).
var rewardAPIs = map[string]rewardAPI{
	"score": {func(o *Model, c stillhouse.Candidate) map[string]any {
		return map[string]any{"model": o.Model, "text_1": promptText(c), "text_2": c.Text()}
	}, at("data.0.score")},
	"classify": {func(o *Model, c stillhouse.Candidate) map[string]any {
		if o.Chat {
			return map[string]any{"model": o.Model, "messages": conversation(c)}
		}
		return map[string]any{"model": o.Model, "input": promptText(c) + "\n\n" + c.Text()}
	}, func(o *Model) string { return strings.TrimSuffix("data.0.probs."+o.Label, ".") }},
	"rerank": {func(o *Model, c stillhouse.Candidate) map[string]any {
		return map[string]any{"model": o.Model, "query": promptText(c), "documents": []string{c.Text()}}
	}, at("results.0.relevance_score")},
	"tei_rerank": {func(o *Model, c stillhouse.Candidate) map[string]any {
		return map[string]any{"query": promptText(c), "texts": []string{c.Text()}}
	}, at("0.score")},
	"tei_predict": {func(o *Model, c stillhouse.Candidate) map[string]any {
		return map[string]any{"inputs": [][]string{{promptText(c), c.Text()}}}
	}, at("")},
	"json": {func(o *Model, c stillhouse.Candidate) map[string]any {
		return map[string]any{"model": o.Model, "messages": conversation(c), "prompt": promptText(c), "completion": c.Text()}
	}, func(o *Model) string { return o.Path }},
}

// promptText is a prompt as one text: its message, or all of them with their roles.
func promptText(c stillhouse.Candidate) string {
	if ms := c.Prompt.Prompt; len(ms) == 1 {
		return ms[0].Content
	}
	var b strings.Builder
	for i, m := range c.Prompt.Prompt {
		if i > 0 {
			b.WriteString("\n\n")
		}
		b.WriteString(m.Role + ": " + m.Content)
	}
	return b.String()
}

func conversation(c stillhouse.Candidate) []stillhouse.Message {
	return append(c.Prompt.Prompt[:len(c.Prompt.Prompt):len(c.Prompt.Prompt)], c.Completion...)
}

type rewardModel struct {
	*poster
	o Model
}

var (
	_ Concurrent = (*rewardModel)(nil)
	_ Opener     = (*rewardModel)(nil)
	_ Metered    = (*rewardModel)(nil)
)

func (r *rewardModel) Version() string { return postVersion("1", r.o.Version) }

// Score asks the model.
func (r *rewardModel) Score(ctx context.Context, c stillhouse.Candidate) stillhouse.Score {
	api := rewardAPIs[r.o.API]
	body, err := json.Marshal(api.body(&r.o, c))
	if err != nil {
		return failed("the row cannot be written: %v", err)
	}
	answer, err := r.post(ctx, body, maxPosted)
	if err != nil {
		return unanswered(ctx, err)
	}
	score, err := readScore(answer, &r.o)
	if err != nil {
		return failed("%v", err)
	}
	return graded(score, score > r.o.Threshold, "the model gave %v", score)
}

// readScore finds the score in an answer.
func readScore(answer []byte, o *Model) (float64, error) {
	var v any
	if err := json.Unmarshal(answer, &v); err != nil {
		return 0, fmt.Errorf("it said %q, which is not JSON", shorten(string(answer)))
	}
	path := rewardAPIs[o.API].path(o)
	if o.API == "tei_predict" {
		v = predicted(v, o.Label)
	}
	if v = follow(v, path); v != nil {
		if list, ok := v.([]any); ok && len(list) == 1 {
			v = list[0]
		} else if ok {
			return 0, fmt.Errorf("it gave scores of %d classes: name one as label", len(list))
		}
		if score, ok := v.(float64); ok {
			return score, nil
		}
	}
	return 0, fmt.Errorf("there is no number at %q in %q", path, shorten(string(answer)))
}

// predicted are the scores of the classes of this name, of all classes without one. One row's classes come as a list, or as
// a list of lists.
func predicted(v any, label string) (scores any) {
	list, _ := v.([]any)
	if len(list) == 1 {
		if inner, ok := list[0].([]any); ok {
			list = inner
		}
	}
	var out []any
	for _, item := range list {
		class, _ := item.(map[string]any)
		if label == "" || class["label"] == label {
			out = append(out, class["score"])
		}
	}
	if out == nil {
		return nil
	}
	return out
}

// follow goes along names and numbers with dots between them; nil where there is nothing.
func follow(v any, path string) any {
	if path == "" {
		return v
	}
	for name := range strings.SplitSeq(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[name]
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i < 0 || i >= len(x) {
				return nil
			}
			v = x[i]
		default:
			return nil
		}
	}
	return v
}
