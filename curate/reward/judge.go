package reward

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"os"
	"strings"
	"sync/atomic"

	"stillhouse"
	"stillhouse/internal/options"
)

// Judge is the reward judge: what a model says of an answer by a rubric, as in Zheng et al., "Judging
// LLM-as-a-Judge with MT-Bench and Chatbot Arena" (2023), or which of two answers it finds better, in both orders.
type Judge struct {
	Endpoint    string     `yaml:"endpoint" json:"endpoint" doc:"The base URL of an OpenAI-compatible server, usually ending in /v1."`
	Model       string     `yaml:"model" json:"model" doc:"The judge's name, as the endpoint knows it."`
	APIKeyEnv   string     `yaml:"api_key_env" json:"api_key_env" doc:"The environment variable that holds the key; empty sends none."`
	Rubric      string     `yaml:"rubric" json:"rubric" doc:"What is judged: helpfulness, instruction_following or honesty."`
	RubricFile  string     `yaml:"rubric_file" json:"rubric_file" doc:"In its place, a Jinja template of the whole question, with the variables prompt, completion, reference, least and most; with pairwise first and second in place of completion."`
	Scale       []float64  `yaml:"scale" json:"scale" doc:"The least and the highest mark, which become the scores 0 and 1."`
	Threshold   *float64   `yaml:"threshold" json:"threshold" doc:"The mark from which on an answer is right, by default the middle of the scale; with pairwise the share of comparisons won, by default 0.5."`
	Pairwise    string     `yaml:"pairwise" json:"pairwise" doc:"Compare in place of marking: reference compares with the reference answer (2 requests a candidate), all compares the K candidates of a prompt with each other (K × (K - 1) requests a prompt)."`
	Samples     int        `yaml:"samples" json:"samples" doc:"How many marks the judge gives an answer, with different seeds; the score is their mean."`
	Temperature *float64   `yaml:"temperature" json:"temperature" doc:"Sampling temperature; by default 0 for one sample, 1 for several."`
	MaxTokens   int        `yaml:"max_tokens" json:"max_tokens" doc:"The most tokens the judge may say; what is cut off there is unparsable."`
	Seed        int64      `yaml:"seed" json:"seed" doc:"Every sample of every question has a seed of its own that follows from this one; a negative number sends no seeds."`
	Structured  Structured `yaml:"structured" json:"structured" doc:"Ask for JSON by response_format with a schema (true) or in words (false); auto asks in words from the first time on that the endpoint refuses the schema."`
	Concurrency int        `yaml:"concurrency" json:"concurrency" doc:"The most requests at a time."`
	MaxRetries  *int       `yaml:"max_retries" json:"max_retries" doc:"How often a request is sent again after an error that may pass, within timeout."`
	MaxRequests int64      `yaml:"max_requests" json:"max_requests" doc:"The most requests that one step of a run, or one stillhouse score, sends, those that fail included; beyond it candidates have no score. 0 is no bound."`
}

// How candidates are compared.
const (
	pairsWithReference = "reference"
	pairsOfAll         = "all"
)

// EnsureDefaults fills in: a scale of 1 to 10, one sample, 1,024 tokens, JSON where the endpoint takes a schema, 16 requests
// at a time, 6 retries.
func (o *Judge) EnsureDefaults() {
	if o.Scale == nil {
		o.Scale = []float64{1, 10}
	}
	if o.Threshold == nil {
		o.Threshold = new(0.5)
		if o.Pairwise == "" && len(o.Scale) == 2 {
			o.Threshold = new((o.Scale[0] + o.Scale[1]) / 2)
		}
	}
	if o.Samples == 0 {
		o.Samples = 1
	}
	if o.Temperature == nil {
		o.Temperature = new(0.0)
		if o.Samples > 1 {
			o.Temperature = new(1.0)
		}
	}
	if o.MaxTokens == 0 {
		o.MaxTokens = 1024
	}
	if o.Structured == "" {
		o.Structured = StructuredAuto
	}
	if o.Concurrency == 0 {
		o.Concurrency = 16
	}
	if o.MaxRetries == nil {
		o.MaxRetries = new(6)
	}
}

func (o *Judge) patience() (seconds float64) { return 300 }

// Ways are JSON and words, where it is found out which the endpoint takes.
func (o *Judge) Ways() []Options {
	if o.Structured != StructuredAuto {
		return nil
	}
	json, words := *o, *o
	json.Structured, words.Structured = StructuredYes, StructuredNo
	return []Options{&json, &words}
}

// Bounds are those of a share.
func (o *Judge) Bounds() (least, most float64) { return 0, 1 }

// Validate is an Invalid error for what cannot be, such as a rubric that uses a variable that there is none of.
func (o *Judge) Validate() error {
	u, err := url.Parse(o.Endpoint)
	switch {
	case o.Endpoint == "":
		return options.Wrongf("endpoint", "is missing: give the base URL of an OpenAI-compatible server, such as http://127.0.0.1:8000/v1")
	case o.Endpoint == "embedded":
		return options.Wrongf("endpoint", "is embedded, which is for the teacher alone: serve the judge, such as with stillhouse serve, and give its URL")
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return options.Wrongf("endpoint", "is not an http or https URL: give one such as http://127.0.0.1:8000/v1")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return options.Wrongf("endpoint", "holds a user name, a password or a query: put the secret into an environment variable and its name into api_key_env")
	case o.Model == "":
		return options.Wrongf("model", "is missing: name the judge as the endpoint knows it")
	case o.Scale != nil && (len(o.Scale) != 2 || !finite(o.Scale...) || o.Scale[0] >= o.Scale[1]):
		return options.Wrongf("scale", "is %v: it must be two numbers, the lesser first, such as [1, 10]", o.Scale)
	case o.Pairwise != "" && o.Pairwise != pairsWithReference && o.Pairwise != pairsOfAll:
		return options.Wrongf("pairwise", "is %q: it must be reference or all, or left out", o.Pairwise)
	case o.Samples < 0 || o.Samples > 1024:
		return options.Wrongf("samples", "is %d: it must be 1 to 1024", o.Samples)
	case o.Samples > 1 && o.Pairwise != "":
		return options.Wrongf("samples", "is %d: with pairwise each pair is compared once in either order: take it out", o.Samples)
	case o.Temperature != nil && !(*o.Temperature >= 0 && *o.Temperature <= 5):
		return options.Wrongf("temperature", "is %v: it must be 0 to 5", *o.Temperature)
	case o.Temperature != nil && *o.Temperature == 0 && o.Samples > 1:
		return options.Wrongf("temperature", "is 0, and with it all %d samples are alike: raise it, or write samples: 1", o.Samples)
	case o.MaxTokens < 0:
		return options.Wrongf("max_tokens", "is %d: it must be 1 or more", o.MaxTokens)
	case o.Seed > 1<<53-1:
		return options.Wrongf("seed", "is %d: it must be at most %d", o.Seed, int64(1<<53-1))
	case o.Concurrency < 0 || o.Concurrency > 4096:
		return options.Wrongf("concurrency", "is %d: it must be 1 to 4096", o.Concurrency)
	case o.MaxRetries != nil && (*o.MaxRetries < 0 || *o.MaxRetries > 100):
		return options.Wrongf("max_retries", "is %d: it must be 0 to 100", *o.MaxRetries)
	case o.MaxRequests < 0:
		return options.Wrongf("max_requests", "is %d: it must be 1 or more, or 0 for no bound", o.MaxRequests)
	}
	if err := o.validateThreshold(); err != nil {
		return err
	}
	_, err = o.template()
	return err
}

func (o *Judge) validateThreshold() error {
	least, most := 0.0, 1.0
	if o.Pairwise == "" && len(o.Scale) == 2 {
		least, most = o.Scale[0], o.Scale[1]
	}
	if t := o.Threshold; t != nil && !(*t >= least && *t <= most) {
		return options.Wrongf("threshold", "is %v: it must be %v to %v", *t, least, most)
	}
	return nil
}

func finite(values ...float64) bool {
	for _, v := range values {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return false
		}
	}
	return true
}

// New makes the reward, which asks nothing before it is given the way to its model.
func (o *Judge) New() (Reward, error) {
	t, err := o.template()
	if err != nil {
		return nil, err
	}
	j := &judge{o: *o, rubric: t}
	if o.Pairwise == pairsOfAll {
		return tournament{j}, nil
	}
	return j, nil
}

// A judge marks answers, or compares each with the reference.
type judge struct {
	o      Judge
	rubric *rubric
	asker  Asker                 // nil where nobody may be asked
	ended  atomic.Pointer[error] // why there is no use in asking any more
}

var (
	_ Comparer   = (*judge)(nil)
	_ Concurrent = (*judge)(nil)
	_ Asking     = (*judge)(nil)
	_ Deciding   = (*judge)(nil)
	_ Opener     = (*judge)(nil)
	_ Bounded    = (*Judge)(nil)
	_ Undecided  = (*Judge)(nil)
)

func (j *judge) Concurrency() int { return j.o.Concurrency }

// Version is that of the question too.
func (j *judge) Version() string { return "1, rubric " + j.rubric.hash }

// NeedsReference is for rubrics that show the reference answer, and where candidates are compared with it.
func (j *judge) NeedsReference() bool {
	return j.o.Pairwise == pairsWithReference || j.rubric.uses("reference")
}

// Open sees whether the key is there.
func (j *judge) Open() error {
	if name := j.o.APIKeyEnv; name != "" && strings.TrimSpace(os.Getenv(name)) == "" {
		return stillhouse.Invalidf("the environment variable %s (api_key_env) is not set: put the key into it", name)
	}
	return nil
}

func (j *judge) AskThrough(open OpenAsker) {
	j.asker = open(AskerOptions{Endpoint: j.o.Endpoint, Model: j.o.Model, APIKeyEnv: j.o.APIKeyEnv, Concurrency: j.o.Concurrency,
		MaxRetries: *j.o.MaxRetries, MaxRequests: j.o.MaxRequests, Seeds: j.o.Seed >= 0})
}

// Way is that in which its endpoint is asked.
func (j *judge) Way() int {
	if j.asker == nil {
		return -1
	}
	switch taken, known := j.asker.Schemas(); {
	case !known:
		return -1
	case taken:
		return 0
	}
	return 1
}

// Close ends the connections.
func (j *judge) Close() error {
	if j.asker == nil {
		return nil
	}
	return j.asker.Close()
}

// schemas of the judge's answers.
var (
	markSchema   = json.RawMessage(`{"type":"object","properties":{"reason":{"type":"string"},"score":{"type":"number"}},"required":["reason","score"],"additionalProperties":false}`)
	choiceSchema = json.RawMessage(`{"type":"object","properties":{"reason":{"type":"string"},"better":{"type":"string","enum":["A","B","tie"]}},"required":["reason","better"],"additionalProperties":false}`)
)

// question is one that write writes, for an answer by the schema or in words.
func (j *judge) question(write func(structured bool) (string, error), schema json.RawMessage) (q Question, err error) {
	q = Question{Samples: j.o.Samples, Seed: j.o.Seed, Temperature: *j.o.Temperature, MaxTokens: j.o.MaxTokens}
	user := func(structured bool) (ms []stillhouse.Message) {
		text, failed := write(structured)
		err = errors.Join(err, failed)
		return []stillhouse.Message{{Role: "user", Content: text}}
	}
	if q.Messages = user(j.o.Structured != StructuredNo); j.o.Structured != StructuredNo {
		q.Schema = schema
	}
	if j.o.Structured == StructuredAuto {
		q.InWords = user(false)
	}
	return q, err
}

// ask asks one question. Where there are not all answers, the score says why: the mean of those that came by chance would
// be another one the next time.
func (j *judge) ask(ctx context.Context, q Question) ([]Answer, *stillhouse.Score) {
	because := func(err error) *stillhouse.Score {
		s := unanswered(ctx, err)
		return &s
	}
	if j.asker == nil {
		return nil, because(fmt.Errorf("there is no way to the model %s here", j.o.Model))
	}
	if err := j.ended.Load(); err != nil {
		return nil, because(*err)
	}
	answers, err := j.asker.Ask(ctx, q)
	if err != nil {
		if ctx.Err() == nil && stillhouse.KindOf(err) == stillhouse.Invalid {
			j.ended.Store(&err)
		}
		return nil, because(err)
	}
	for i, a := range answers {
		if a.Err != nil {
			return nil, because(fmt.Errorf("%d of %d answers are missing: %w", missingFrom(answers[i:]), len(answers), a.Err))
		}
	}
	return answers, nil
}

func missingFrom(answers []Answer) (n int) {
	for _, a := range answers {
		if a.Err != nil {
			n++
		}
	}
	return n
}

// Score asks for marks, or compares with the reference.
func (j *judge) Score(ctx context.Context, c stillhouse.Candidate) stillhouse.Score {
	if what := j.unfit(c); what != "" {
		return cannotTell("%s", what)
	}
	if j.o.Pairwise == pairsWithReference {
		return j.againstReference(ctx, c)
	}
	q, err := j.question(func(structured bool) (string, error) {
		return j.rubric.mark(c, j.o.Scale[0], j.o.Scale[1], structured)
	}, markSchema)
	if err != nil {
		return cannotTell("%s", shortenTo("the question cannot be written: "+err.Error(), 300))
	}
	answers, failure := j.ask(ctx, q)
	if failure != nil {
		return *failure
	}
	return j.mean(answers)
}

// mean is the score of the marks in the answers that have one.
func (j *judge) mean(answers []Answer) stillhouse.Score {
	least, most := j.o.Scale[0], j.o.Scale[1]
	sum, parsed, reason := 0.0, 0, ""
	var why error
	for _, a := range answers {
		mark, said, err := readMark(a, least, most)
		if err != nil {
			if why == nil {
				why = err
			}
			continue
		}
		if parsed++; parsed == 1 {
			reason = said
		}
		sum += mark
	}
	if parsed == 0 {
		return cannotTell("0 of %d parsed: %v", len(answers), why)
	}
	mean := sum / float64(parsed)
	evidence := fmt.Sprintf("%d of %d parsed, mean %.4g on %v to %v", parsed, len(answers), mean, least, most)
	if len(answers) == 1 {
		evidence = fmt.Sprintf("%v on %v to %v", mean, least, most)
	}
	if reason != "" {
		evidence += ": " + reason
	}
	return graded(min(max((mean-least)/(most-least), 0), 1), mean >= *j.o.Threshold, "%s", evidence)
}

// maxJudged is how long a text may be that is put before a judge, in bytes.
const maxJudged = 1 << 20

// unfit says why a candidate can't be put before the judge; empty where it can.
func (j *judge) unfit(c stillhouse.Candidate) string {
	switch {
	case strings.TrimSpace(shown(c)) == "":
		return "there is nothing to judge: the completion is empty"
	case len(shown(c)) > maxJudged || len(promptText(c)) > maxJudged:
		return fmt.Sprintf("prompt or completion has more than %d bytes", maxJudged)
	case j.NeedsReference() && (c.Reference == nil || strings.TrimSpace(*c.Reference) == ""):
		return "the row has no reference answer"
	case j.NeedsReference() && len(*c.Reference) > maxJudged:
		return fmt.Sprintf("the reference has more than %d bytes", maxJudged)
	}
	return ""
}

// shown is what the judge sees of a completion: its text, and the tools that it calls.
func shown(c stillhouse.Candidate) string {
	if c.ToolCalls == nil || *c.ToolCalls == "" {
		return c.Text()
	}
	return strings.TrimSpace(c.Text() + "\n\nIt calls tools: " + *c.ToolCalls)
}
