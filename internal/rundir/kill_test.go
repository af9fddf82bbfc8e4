package rundir

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"stillhouse"
	"stillhouse/internal/testkit"
)

const (
	killDir = "STILLHOUSE_TEST_KILL_DIR" // set in a child: the run that it works on
	killAt  = "STILLHOUSE_TEST_KILL_AT"  // the operation on the disk at which it kills itself
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(killDir); dir != "" {
		if err := child(dir, os.Getenv(killAt)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// child works on a run, and ends by SIGKILL at the operation numbered at.
func child(dir, at string) error {
	left, err := strconv.Atoi(at)
	if err != nil {
		return err
	}
	d, err := Open(dir, []byte(config), Options{disk: &faulty{fail: func(string, string) bool {
		if left--; left == 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // the signal is on its way
		}
		return false
	}}})
	if err != nil {
		return err
	}
	return errors.Join(work(d), d.Close())
}

// work runs two stages over 24 prompts in 4 shards.
func work(d *Dir) error {
	ctx := context.Background()
	rows := batches(memory.DefaultAllocator, 24)["prompts"]
	in := testkit.NewMemorySource(rows.Schema(), rows.NewSlice(0, 8), rows.NewSlice(8, 12), rows.NewSlice(12, 12), rows.NewSlice(12, 24))
	one := stillhouse.Options{Workers: 1}
	if _, err := stillhouse.Run(ctx, in, &sieve{}, d.Sink("prompts", "prompts"), one); err != nil {
		return err
	}
	prompts, err := d.Source("prompts")
	if err != nil {
		return err
	}
	if _, err := stillhouse.Run(ctx, prompts, &hold{}, d.Sink("candidates", "distill"), one); err != nil {
		return err
	}
	if _, err := d.WriteLedger(); err != nil {
		return err
	}
	_, err = d.Check(ctx)
	return err
}

// sieve drops every third row of a batch and fails the fourth.
type sieve struct{}

func (*sieve) Name() string { return "sieve" }

func (*sieve) Schema(in *schema) (*schema, error) { return in, nil }

func (*sieve) Process(_ context.Context, b batch, out stillhouse.Emitter) error {
	for i := range b.NumRows() {
		row := b.NewSlice(i, i+1)
		defer row.Release()
		var err error
		switch {
		case i%3 == 2:
			err = out.Drop(row, "third", fmt.Sprint("row ", i))
		case i == 4:
			err = out.Fail(row, stillhouse.Transientf("row %d", i))
		default:
			row.Retain()
			err = out.Emit(row)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// hold is a Flusher: it keeps the first row of each batch back to the end.
type hold struct{ rows []arrow.RecordBatch }

func (*hold) Name() string { return "hold" }

func (*hold) Schema(in *schema) (*schema, error) { return in, nil }

func (s *hold) Begin() error { s.rows = nil; return nil }

func (s *hold) Process(_ context.Context, b batch, out stillhouse.Emitter) error {
	s.rows = append(s.rows, b.NewSlice(0, 1))
	return out.Emit(b.NewSlice(1, b.NumRows()))
}

func (s *hold) Flush(_ context.Context, out stillhouse.Emitter) error {
	for _, b := range s.rows {
		if err := out.Emit(b); err != nil {
			return err
		}
	}
	return nil
}

// TestKill kills a process in the middle of its writes, again and again, until one gets through. What it leaves is, byte
// for byte, what an undisturbed run leaves.
func TestKill(t *testing.T) {
	calm := opened(t, t.TempDir(), config, Options{})
	disk := &faulty{}
	calm.disk = disk
	if err := work(calm); err != nil {
		t.Fatal(err)
	}
	operations := len(disk.log)
	rnd := rand.New(rand.NewPCG(1, 9))
	for range 3 {
		dir := t.TempDir()
		kills := 0
		for {
			// Often early, so that several die on one run.
			at := 1 + rnd.IntN(operations/2)
			if kills >= 6 {
				at = 10 * operations
			}
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), killDir+"="+dir, fmt.Sprintf("%s=%d", killAt, at))
			text, err := cmd.CombinedOutput()
			if err == nil {
				break
			}
			status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
			if !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
				t.Fatalf("the child ended with %v: %s", err, text)
			}
			kills++
		}
		if diff := differing(t, calm.Path(), dir); diff != "" {
			t.Errorf("after %d kills: %s", kills, diff)
		}
		if kills == 0 {
			t.Error("no child was killed")
		}
	}
}
