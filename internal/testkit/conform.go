// Package testkit is what the tests of the stages share: a source and a sink in memory, and the conformance suite.
package testkit

import (
	"fmt"
	"runtime/debug"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"stillhouse"
)

// A Case is a stage and the rows to hold it against the contract with. The rows should make it keep, drop and fail
// some, and have several prompts; the rows of one prompt lie side by side.
type Case struct {
	// New makes the stage with its options. Every run takes a new one.
	New func() stillhouse.Stage

	// Input makes the rows.
	Input func(mem memory.Allocator) arrow.RecordBatch

	// Join hands a stage what is not an option of it: the interfaces that pipelines joins. It is called for every stage
	// before it is used, whether it came from New or from JSON. It may be nil.
	Join func(stillhouse.Stage)

	// Needs are the columns that the stage cannot do without. A column that is not named here may still be refused when
	// it is missing, but then with an error that names it.
	Needs []string

	// BadInput are schemas that the stage must refuse.
	BadInput []*arrow.Schema

	// Output is the schema that comes out, when it is known beforehand.
	Output *arrow.Schema

	// Account is what must become of the rows, when it is known beforehand.
	Account *stillhouse.Account
}

// Conform holds a stage against the promises of the contract:
//
//   - Schema names the column that is missing or of another type, and what comes out has the schema it promised;
//   - the rows kept, dropped and failed, and their order, and how many were not asked for, are the same for any cut into batches and shards, any number
//     of workers and any order of columns, in a second run, and for a stage that went through JSON;
//   - the books balance, every drop has a reason of one word and a detail;
//   - batches without rows and sources without shards or rows are fine;
//   - an error of the emitter, the source or the sink ends the run with that error;
//   - a cancelled context ends the run soon, with the context's error;
//   - no Arrow memory is left over in any of these cases. (Rows that an Ordered stage still holds after an error may
//     wait for the next Begin.)
func Conform(t *testing.T, c Case) {
	t.Helper()
	for _, check := range checks {
		t.Run(check.name, func(t *testing.T) {
			if err := c.hold(check); err != nil {
				t.Error(err)
			}
		})
	}
}

// A check is one group of promises. It takes all its memory from mem.
type check struct {
	name string
	run  func(c Case, mem memory.Allocator) error
}

var checks = []check{
	{"schema", Case.checkSchema},
	{"columns", Case.checkColumns},
	{"account", Case.checkAccount},
	{"any_split", Case.checkSplits},
	{"again", Case.checkAgain},
	{"json", Case.checkJSON},
	{"empty", Case.checkEmpty},
	{"emitter_fails", Case.checkEmitterFails},
	{"source_or_sink_fails", Case.checkEndsFail},
	{"cancelled", Case.checkCancelled},
}

// hold runs one check and looks whether it gave back all its memory. A panic is a failure of the check.
func (c Case) hold(k check) (err error) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	if err := k.run(c, mem); err != nil {
		return err
	}
	var leak leaks
	mem.AssertSize(&leak, 0)
	return leak.err
}

// leaks notes what a checked allocator finds.
type leaks struct{ err error }

func (l *leaks) Errorf(format string, args ...any) {
	if l.err == nil {
		l.err = fmt.Errorf("leaked Arrow memory: "+format, args...)
	}
}

func (l *leaks) Helper() {}

// stage makes a stage that is ready to run.
func (c Case) stage() stillhouse.Stage { return c.joined(c.New()) }

func (c Case) joined(s stillhouse.Stage) stillhouse.Stage {
	if c.Join != nil {
		c.Join(s)
	}
	return s
}

// forget lets an Ordered stage give back the rows it still holds after a run that ended in an error.
func forget(s stillhouse.Stage) error {
	if o, ok := s.(stillhouse.Ordered); ok {
		return o.Begin()
	}
	return nil
}
