package reward

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"

	"stillhouse"
	"stillhouse/internal/options"
)

// Expr is the reward expr: one line of github.com/expr-lang/expr over the row and over what the
// rewards before it say. True is 1 and right, false is 0 and wrong; a number is the score, right above 0.
//
// What the expression reads of a score that is none (a timeout, an error) makes its own an error, and never a 0. When it
// comes to 0 or false having read a score that is unparsable, it is unparsable too.
type Expr struct {
	Expression string `yaml:"expression" json:"expression" doc:"One line, such as: reward.math == 1 && tokens < 400. There are reward.NAME and verdict.NAME of the rewards before it, completion, prompt, reference, reasoning, finish_reason, model, tokens, prompt_tokens, sample and meta."`
}

// EnsureDefaults does nothing: the expression must be said.
func (o *Expr) EnsureDefaults() {}

// Validate is an Invalid error where the expression cannot be compiled, or uses a name that there is none of. Names of
// rewards are checked by ValidateAfter.
func (o *Expr) Validate() error { return o.ValidateAfter(nil) }

// ValidateAfter is Validate for an expression that stands after rewards of these names; nil for any.
func (o *Expr) ValidateAfter(names []string) error {
	if strings.TrimSpace(o.Expression) == "" {
		return options.Wrongf("expression", "is missing: write one, such as expression: reward.math == 1 && tokens < 400")
	}
	_, err := o.compile(names)
	return err
}

// New makes the reward.
func (o *Expr) New() (Reward, error) {
	p, err := o.compile(nil)
	return exprReward{p}, err
}

// exprRow is what an expression sees of a candidate.
type exprRow struct {
	Reward       map[string]float64 `expr:"reward"`
	Verdict      map[string]string  `expr:"verdict"`
	Completion   string             `expr:"completion"`
	Prompt       string             `expr:"prompt"` // its last message
	Reference    string             `expr:"reference"`
	Reasoning    string             `expr:"reasoning"`
	FinishReason string             `expr:"finish_reason"`
	Model        string             `expr:"model"`
	Tokens       int                `expr:"tokens"`
	PromptTokens int                `expr:"prompt_tokens"`
	Sample       int                `expr:"sample"`
	Meta         map[string]any     `expr:"meta"`

	ScoreOf   func(name string) (float64, error) `expr:"score_of"` // what reward.NAME becomes
	VerdictOf func(name string) (string, error)  `expr:"verdict_of"`
}

// exprNames are the names that an expression may use.
var exprNames = func() (names []string) {
	for _, f := range reflect.VisibleFields(reflect.TypeFor[exprRow]()) {
		if f.Type.Kind() != reflect.Func {
			names = append(names, f.Tag.Get("expr"))
		}
	}
	return names
}()

// bounds of an expression: nodes when it is compiled, elements that it makes when it runs, bytes that are written out.
const (
	exprNodes  = 1000
	exprBudget = 100_000
	exprLength = 10_000
)

func (o *Expr) compile(rewards []string) (*vm.Program, error) {
	wrong := func(format string, args ...any) error {
		return options.Wrongf("expression", "is %q: %s", shorten(o.Expression), fmt.Sprintf(format, args...))
	}
	if len(o.Expression) > exprLength {
		return nil, wrong("it is longer than %d bytes: use command for what is not one line", exprLength)
	}
	c := conf.CreateNew()
	c.MaxNodes = exprNodes
	tree, err := parser.ParseWithConfig(o.Expression, c)
	if err != nil {
		return nil, wrong("%s", firstLine(err.Error()))
	}
	n := &namesOf{rewards: rewards}
	ast.Walk(&tree.Node, n)
	if n.wrong == "" && n.whole != 0 {
		n.wrong = "reward and verdict are followed by a reward's name, as in reward.math"
	}
	if n.wrong != "" {
		return nil, wrong("%s", n.wrong)
	}
	p, err := expr.Compile(o.Expression, expr.Env(exprRow{}), expr.Patch(scoreCalls{}), expr.MaxNodes(exprNodes))
	if err != nil {
		return nil, wrong("%s", firstLine(err.Error()))
	}
	switch t := p.Node().Type(); t.Kind() {
	case reflect.Bool, reflect.Int, reflect.Float64, reflect.Interface:
		return p, nil
	default:
		return nil, wrong("it comes to a %s: it must come to true or false, or to a number", t)
	}
}

// namesOf looks for names that there are none of, so that the error can say which are near.
type namesOf struct {
	rewards []string // nil for any
	ours    []string // declared in the expression
	whole   int      // how often reward and verdict stand without a name
	wrong   string
}

// Visit is called for the children of a node before the node itself.
func (n *namesOf) Visit(node *ast.Node) {
	if n.wrong != "" {
		return
	}
	switch x := (*node).(type) {
	case *ast.IdentifierNode:
		if x.Value == "reward" || x.Value == "verdict" {
			n.whole++
		}
		// What is declared by let is walked before its use only in part, so that those names are left to the compiler.
		if x.Value == "score_of" || x.Value == "verdict_of" {
			n.wrong = fmt.Sprintf("there is no name %q", x.Value)
		} else if hint := options.Nearest(x.Value, exprNames); !slices.Contains(exprNames, x.Value) && !slices.Contains(n.ours, x.Value) && strings.HasPrefix(hint, "did you mean") {
			n.wrong = fmt.Sprintf("there is no name %q: %s", x.Value, hint)
		}
	case *ast.VariableDeclaratorNode:
		n.ours = append(n.ours, x.Name)
	case *ast.MemberNode:
		_, name, ok := scoreName(x)
		if !ok {
			return
		}
		n.whole--
		if n.rewards != nil {
			if s, ok := name.(*ast.StringNode); ok && !slices.Contains(n.rewards, s.Value) {
				n.wrong = fmt.Sprintf("there is no reward %q before it: %s", s.Value, options.Nearest(s.Value, n.rewards))
			}
		}
	}
}

// scoreName takes reward.NAME or verdict.NAME apart.
func scoreName(x *ast.MemberNode) (of string, name ast.Node, ok bool) {
	base, ok := x.Node.(*ast.IdentifierNode)
	if !ok || (base.Value != "reward" && base.Value != "verdict") {
		return "", nil, false
	}
	return base.Value, x.Property, true
}

// scoreCalls makes calls of reward.NAME and verdict.NAME, so that what is read is known and can be refused.
type scoreCalls struct{}

func (scoreCalls) Visit(node *ast.Node) {
	if x, ok := (*node).(*ast.MemberNode); ok {
		if of, name, ok := scoreName(x); ok {
			callee := map[string]string{"reward": "score_of", "verdict": "verdict_of"}[of]
			ast.Patch(node, &ast.CallNode{Callee: &ast.IdentifierNode{Value: callee}, Arguments: []ast.Node{name}})
		}
	}
}

type exprReward struct{ program *vm.Program }

var _ Follower = exprReward{}

func (exprReward) Version() string { return "1" }

func (r exprReward) Score(ctx context.Context, c stillhouse.Candidate) stillhouse.Score {
	return r.ScoreAfter(ctx, c, nil)
}

// ScoreAfter evaluates the expression.
func (r exprReward) ScoreAfter(_ context.Context, c stillhouse.Candidate, before []stillhouse.Score) stillhouse.Score {
	row := exprRow{Completion: c.Text(), FinishReason: c.FinishReason, Model: c.Model, Tokens: int(c.CompletionTokens),
		PromptTokens: int(c.PromptTokens), Sample: int(c.Sample), Reward: map[string]float64{}, Verdict: map[string]string{}}
	for _, s := range before {
		row.Reward[s.Name], row.Verdict[s.Name] = s.Score, s.Verdict
	}
	if n := len(c.Prompt.Prompt); n > 0 {
		row.Prompt = c.Prompt.Prompt[n-1].Content
	}
	if c.Reference != nil {
		row.Reference = *c.Reference
	}
	if c.Reasoning != nil {
		row.Reasoning = *c.Reasoning
	}
	if c.Meta != nil {
		if err := json.Unmarshal([]byte(*c.Meta), &row.Meta); err != nil {
			return failed("meta is not a JSON object")
		}
	}
	var read []string
	unparsable := false
	find := func(name string) (stillhouse.Score, error) {
		i := slices.IndexFunc(before, func(s stillhouse.Score) bool { return s.Name == name })
		if i < 0 {
			return stillhouse.Score{}, fmt.Errorf("there is no reward %q before it", shorten(name))
		}
		s := before[i]
		unparsable = unparsable || s.Verdict == stillhouse.Unparsable
		if said := fmt.Sprintf("%s %v (%s)", name, s.Score, s.Verdict); !slices.Contains(read, said) && len(read) < 5 {
			read = append(read, said)
		}
		return s, nil
	}
	row.VerdictOf = func(name string) (string, error) { s, err := find(name); return s.Verdict, err }
	row.ScoreOf = func(name string) (float64, error) {
		s, err := find(name)
		if err == nil && math.IsNaN(s.Score) {
			err = fmt.Errorf("reward %q has no score (%s)", shorten(name), s.Verdict)
		}
		return s.Score, err
	}
	machine := vm.VM{MemoryBudget: exprBudget}
	out, err := machine.Run(r.program, row)
	if err != nil {
		return failed("%s", firstLine(err.Error()))
	}
	said := strings.Join(read, ", ")
	if said != "" {
		said += ": "
	}
	var score float64
	switch v := out.(type) {
	case bool:
		said += strconv.FormatBool(v)
		if v {
			score = 1
		}
	case int:
		score = float64(v)
		said += strconv.Itoa(v)
	case float64:
		score = v
		said += fmt.Sprint(v)
	default:
		return failed("%sit came to %s, which is neither a number nor true or false", said, shorten(fmt.Sprintf("%T", out)))
	}
	switch {
	case math.IsNaN(score) || math.IsInf(score, 0):
		return failed("%swhich is no score", said+" ")
	case score == 0 && unparsable:
		return cannotTell("%s", said)
	}
	return graded(score, score > 0, "%s", said)
}
