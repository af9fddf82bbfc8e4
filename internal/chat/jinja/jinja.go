// Package jinja renders chat templates: the Jinja2 of transformers' apply_chat_template (jinja2 3.1.6 with trim_blocks,
// lstrip_blocks, loop controls, the generation block and an immutable sandbox), on values that keep the order of keys.
//
// Templates come from strangers. A template sees nothing but the variables it is given, can't change them, can't load
// other templates, and is stopped when it takes too many steps, makes too much text or nests too deeply.
//
// It exists since of two engines in Go neither gives jinja2's text nor can be stopped: of the 523 cases in
// testdata/jinja/cases.json gonja v2.9.1 gets 371 right and ardanlabs/jinja v1.8.0 323, where this must get all, and in
// both a macro that calls itself ends the process. The program testdata/jinja/engines measures them; one that passes
// there should take this one's place.
package jinja

import (
	"fmt"
	"strings"
	"time"
)

// The bounds of what a template may be and do. Real templates stay a hundred times below them.
const (
	maxSource  = 1 << 20   // bytes of a template
	maxNesting = 200       // blocks or brackets in one another in a template
	maxDepth   = 1000      // expressions, macros and loops in one another while it runs
	maxSteps   = 5_000_000 // expressions and statements evaluated
	maxOutput  = 32 << 20  // bytes of the result, and of any one value
	maxBytes   = 256 << 20 // bytes of all strings, lists and objects made on the way
	maxRange   = 100_000   // items of one range(), as in jinja2's sandbox
)

// An Error is what is wrong with a template or what a template says is wrong with its input.
type Error struct {
	Line    int
	Message string
	Raised  bool // by the template itself, through raise_exception
}

func (e *Error) Error() string {
	if e.Raised {
		return e.Message
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.Message)
}

// A Template is a parsed template. It may be executed from several goroutines at once.
type Template struct {
	body []statement
}

// Parse reads a template. The error is an [*Error].
func Parse(source string) (t *Template, err error) {
	if len(source) > maxSource {
		return nil, &Error{Line: 1, Message: fmt.Sprintf("the template has %d bytes, more than %d", len(source), maxSource)}
	}
	p := &parser{}
	defer func() {
		if r := recover(); r != nil {
			err = asError(r, p.line())
		}
	}()
	p.tokens = lex(source)
	body, _ := p.statements()
	return &Template{body: body}, nil
}

// A Span is a piece of a rendered text: its bytes From up to but not including To.
type Span struct{ From, To int }

// Options are what a template may know of the world.
type Options struct {
	Now time.Time // what strftime_now formats; the zero value is the time of the call

	// Strict makes it an error to print None or what is undefined, or to put it through a filter other than default and
	// tojson: jinja2 would print the word None, or nothing.
	Strict bool
}

// Execute renders the template. Generated are the pieces that {% generation %} blocks enclose. The error is an
// [*Error].
func (t *Template) Execute(variables *Dict, o Options) (text string, generated []Span, err error) {
	r := &run{now: o.Now, strict: o.Strict, main: &strings.Builder{}}
	r.out = r.main
	defer func() {
		if p := recover(); p != nil {
			text, generated, err = "", nil, asError(p, r.line)
		}
	}()
	top := &scope{vars: map[string]Value{}}
	for i, k := range variables.keys {
		if name, ok := k.(string); ok {
			top.vars[name] = variables.values[i]
		}
	}
	r.exec(t.body, &scope{vars: map[string]Value{}, parent: top})
	return r.main.String(), r.generated, nil
}

// asError turns what the lexer, parser or evaluator panicked with into an error. They panic with an [*Error]; anything
// else is a fault of theirs, which must not end the process.
func asError(r any, line int) error {
	if e, ok := r.(*Error); ok {
		return e
	}
	return &Error{Line: line, Message: fmt.Sprintf("the template can't be handled: %v", r)}
}
