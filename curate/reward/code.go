package reward

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"stillhouse"
	"stillhouse/internal/options"
	"stillhouse/internal/sandbox"
)

// Code is the reward code: the answer's code block is run against the row's tests in a sandbox, and
// is right when it passes all of them.
//
// Tests are Python, such as assertions, that see what the answer defines (text, or a JSON list of texts), or cases of
// standard input and output: a JSON list of {"input": …, "output": …}, or {"inputs": […], "outputs": […]}. Expected outputs
// never enter the sandbox. Assertions run in the interpreter of the answer; that they were passed is told by a token that is
// drawn anew for each run, so that neither an early exit nor a printed mark is taken for it. It is no guard against an answer
// that searches its interpreter's frames for the token.
type Code struct {
	Language    string   `yaml:"language" json:"language" doc:"The language that the fenced block names; blocks that name none count where none names it."`
	Block       string   `yaml:"block" json:"block" doc:"Which of the answer's blocks in this language is run: last or longest."`
	TestsKey    string   `yaml:"tests_key" json:"tests_key" doc:"The key in meta that holds the tests; by default they are the reference."`
	Command     []string `yaml:"command" json:"command" doc:"The interpreter, as the sandbox finds it in its PATH; the file of the program follows it. Assertions need a Python."`
	ReadOnly    []string `yaml:"read_only" json:"read_only" doc:"Directories that the sandbox may read beside /usr, such as that of an interpreter or a virtual environment."`
	Memory      int      `yaml:"memory" json:"memory" doc:"MiB of address space of a run; -1 for no limit, which some interpreters need."`
	CPU         int      `yaml:"cpu" json:"cpu" doc:"Seconds of processor time of a run; timeout bounds the time of all runs of a candidate."`
	Processes   int      `yaml:"processes" json:"processes" doc:"How many processes a run may have; 1 lets it start none, though threads."`
	MaxOutput   int      `yaml:"max_output" json:"max_output" doc:"The most bytes that a run may print."`
	Unsandboxed bool     `yaml:"unsandboxed" json:"unsandboxed" doc:"Run the teacher's code without bubblewrap: it can read, change and send whatever you can."`
}

// EnsureDefaults fills in: the last block of Python, 512 MiB, 10 s, one process, 1 MiB of output.
func (o *Code) EnsureDefaults() {
	if o.Language == "" {
		o.Language = "python"
	}
	if o.Block == "" {
		o.Block = "last"
	}
	if len(o.Command) == 0 {
		o.Command = []string{"python3", "-I", "-B"}
	}
	if o.Memory == 0 {
		o.Memory = 512
	}
	if o.CPU == 0 {
		o.CPU = 10
	}
	if o.Processes == 0 {
		o.Processes = 1
	}
	if o.MaxOutput == 0 {
		o.MaxOutput = 1 << 20
	}
}

// Validate is an Invalid error for a limit that cannot be.
func (o *Code) Validate() error {
	switch {
	case o.Block != "" && o.Block != "last" && o.Block != "longest":
		return options.Wrongf("block", "is %q: it must be last or longest", o.Block)
	case o.Memory < -1 || o.Memory > 1<<20:
		return options.Wrongf("memory", "is %d: it must be 1 to %d MiB, or -1 for no limit", o.Memory, 1<<20)
	case o.CPU < 0 || o.CPU > 86400:
		return options.Wrongf("cpu", "is %d: it must be 1 to 86400 seconds", o.CPU)
	case o.Processes < 0 || o.Processes > 4096:
		return options.Wrongf("processes", "is %d: it must be 1 to 4096", o.Processes)
	case o.MaxOutput < 0 || o.MaxOutput > 64<<20:
		return options.Wrongf("max_output", "is %d: it must be 1 to %d bytes", o.MaxOutput, 64<<20)
	}
	for _, dir := range o.ReadOnly {
		if !strings.HasPrefix(dir, "/") {
			return options.Wrongf("read_only", "has %q: it must be absolute paths", dir)
		}
	}
	return nil
}

// New makes the reward. Whether the sandbox can be made shows when it is opened.
func (o *Code) New() (Reward, error) {
	memory := int64(o.Memory) << 20
	if o.Memory < 0 {
		memory = 0
	}
	return &codeReward{o: *o, box: sandbox.Sandbox{ReadOnly: o.ReadOnly, Open: o.Unsandboxed,
		Limits: sandbox.Limits{Memory: memory, Output: o.MaxOutput, CPU: o.CPU, Processes: o.Processes}}}, nil
}

// Warning is what people should know of these options before the reward is asked; empty for nothing.
func (o *Code) Warning() string {
	if !o.Unsandboxed {
		return ""
	}
	return "unsandboxed is true: the teacher's programs run as you, with your files, your keys and the network; take it out and install bubblewrap"
}

// bounds of what is run: a program and its tests, and how many cases.
const (
	maxProgram = 1 << 20
	maxCases   = 200
)

//go:embed code_harness.py
var codeHarness string

type codeReward struct {
	o   Code
	box sandbox.Sandbox
}

var (
	_ Comparer = (*codeReward)(nil)
	_ Opener   = (*codeReward)(nil)
)

func (r *codeReward) Version() string      { return "1" }
func (r *codeReward) NeedsReference() bool { return r.o.TestsKey == "" }

// Open tries the interpreter in the sandbox: an Invalid error says what to install or to allow.
func (r *codeReward) Open() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := r.box.Check(ctx, append(r.o.Command[:len(r.o.Command):len(r.o.Command)], sandbox.Program)); err != nil {
		if r.o.Unsandboxed {
			return stillhouse.Invalidf("%w", err)
		}
		return stillhouse.Invalidf("%w; or write unsandboxed: true, if you trust the teacher with this machine", err)
	}
	return nil
}

// Score runs the answer's program.
func (r *codeReward) Score(ctx context.Context, c stillhouse.Candidate) stillhouse.Score {
	tests, err := r.tests(c)
	if err != nil {
		return cannotTell("%v", err)
	}
	program, ok := chooseBlock(codeBlocks(c.Text()), r.o.Language, r.o.Block == "longest")
	switch {
	case !ok:
		return cannotTell("there is no code block in %s", r.o.Language)
	case len(program) > maxProgram:
		return cannotTell("the code block has more than %d bytes", maxProgram)
	case !utf8.ValidString(program):
		return cannotTell("the code block is not UTF-8")
	}
	if tests.python != "" {
		return r.assert(ctx, program, tests.python)
	}
	for i, t := range tests.cases {
		got, err := r.box.Run(ctx, append(r.o.Command[:len(r.o.Command):len(r.o.Command)], sandbox.Program), []byte(program), []byte(t.Input))
		switch {
		case ctx.Err() != nil:
			return outOfTime
		case err != nil:
			return failed("the sandbox failed: %v", err)
		case got.TooMuch:
			return judged(false, "case %d of %d: it printed more than %d bytes", i+1, len(tests.cases), r.o.MaxOutput)
		case got.Exit != 0:
			return judged(false, "case %d of %d: exit status %d: %s", i+1, len(tests.cases), got.Exit, lastLine(got.Error))
		case plainOutput(string(got.Output)) != plainOutput(t.Output):
			return judged(false, "case %d of %d: it printed %q, not %q", i+1, len(tests.cases), shorten(string(got.Output)), shorten(t.Output))
		}
	}
	return judged(true, "%d of %d cases", len(tests.cases), len(tests.cases))
}

// assert runs a program and then its tests in one interpreter.
func (r *codeReward) assert(ctx context.Context, program, tests string) stillhouse.Score {
	var drawn [16]byte
	rand.Read(drawn[:])
	token := hex.EncodeToString(drawn[:])
	input, err := json.Marshal(map[string]string{"token": token, "program": program, "tests": tests})
	if err != nil {
		return failed("the program cannot be written: %v", err)
	}
	got, err := r.box.Run(ctx, append(r.o.Command[:len(r.o.Command):len(r.o.Command)], "-c", codeHarness), nil, input)
	said := string(bytes.TrimSpace(got.Output))
	switch {
	case ctx.Err() != nil:
		return outOfTime
	case err != nil:
		return failed("the sandbox failed: %v", err)
	case said == token+" passed" && got.Exit == 0:
		return judged(true, "the tests are passed")
	case strings.HasPrefix(said, token+" broken "):
		return cannotTell("the tests are no Python: %s", shorten(strings.TrimPrefix(said, token+" broken ")))
	}
	return judged(false, "exit status %d before the tests were passed: %s", got.Exit, lastLine(got.Error))
}

// lastLine is the last line of what a program left, where interpreters say what was wrong.
func lastLine(text []byte) string {
	text = bytes.TrimSpace(text)
	if len(text) == 0 {
		return "it said nothing"
	}
	return shorten(string(text[bytes.LastIndexByte(text, '\n')+1:]))
}

// plainOutput is output up to blanks at the ends of lines and empty lines at the end.
func plainOutput(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		b.WriteString(strings.TrimRight(line, " \t\r\n"))
		b.WriteByte('\n')
	}
	return strings.TrimRight(b.String(), "\n")
}

// codeTests are the tests of a row: Python, or cases.
type codeTests struct {
	python string
	cases  []codeCase
}

type codeCase struct {
	Input  string `json:"input"`
	Output string `json:"output"`
}

// tests reads the tests of a row.
func (r *codeReward) tests(c stillhouse.Candidate) (t codeTests, err error) {
	text := c.Reference
	if r.o.TestsKey != "" {
		var meta map[string]json.RawMessage
		if c.Meta != nil && json.Unmarshal([]byte(*c.Meta), &meta) == nil && meta[r.o.TestsKey] != nil {
			var s string
			if json.Unmarshal(meta[r.o.TestsKey], &s) != nil {
				s = string(meta[r.o.TestsKey])
			}
			text = &s
		}
	}
	if text == nil || strings.TrimSpace(*text) == "" {
		return t, fmt.Errorf("the row has no tests")
	}
	if t, err = readTests(*text); err == nil && t.python != "" && r.o.Language != "python" {
		err = fmt.Errorf("the tests are Python, and the program is %s: give cases of input and output", r.o.Language)
	}
	return t, err
}

// readTests reads tests in each of their forms.
func readTests(text string) (t codeTests, err error) {
	if len(text) > 16*maxProgram {
		return t, fmt.Errorf("the tests have more than %d bytes", 16*maxProgram)
	}
	var list []string
	var columns struct{ Inputs, Outputs []string }
	switch data := []byte(text); {
	case json.Unmarshal(data, &list) == nil:
		t.python = strings.Join(list, "\n")
	case json.Unmarshal(data, &t.cases) == nil:
	case json.Unmarshal(data, &columns) == nil:
		if t.cases = nil; len(columns.Inputs) != len(columns.Outputs) {
			return t, fmt.Errorf("the tests have %d inputs and %d outputs", len(columns.Inputs), len(columns.Outputs))
		}
		for i, in := range columns.Inputs {
			t.cases = append(t.cases, codeCase{in, columns.Outputs[i]})
		}
	default:
		t = codeTests{python: text}
	}
	switch {
	case strings.TrimSpace(t.python) == "" && len(t.cases) == 0:
		return t, fmt.Errorf("the row has no tests")
	case len(t.cases) > maxCases:
		return t, fmt.Errorf("the tests have %d cases, more than %d", len(t.cases), maxCases)
	}
	return t, nil
}
