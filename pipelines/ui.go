package pipelines

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/schollz/progressbar/v3"

	"stillhouse"
	"stillhouse/train"
)

// ErrRunFailed is wrapped by errors of a run that was right and went wrong: an endpoint that refused, a disk that filled.
var ErrRunFailed = errors.New("the run failed")

// UI is where a pipeline tells people what it does.
type UI struct {
	Out      io.Writer
	Terminal bool // bars are welcome
	Color    bool // and colours

	Log *slog.Logger // takes what programs may want to read, in fields; nil where Out says it in words
}

// training is the interface of a training, with the channel that asks for a checkpoint.
func (u UI) training(checkpoint <-chan os.Signal) train.UI {
	return train.UI{Out: u.Out, Terminal: u.Terminal, Color: u.Color, Log: u.Log, Checkpoint: checkpoint}
}

func (u UI) say(format string, args ...any) {
	if u.Out != nil {
		fmt.Fprintf(u.Out, format+"\n", args...)
	}
}

// A bar shows how far a step is. Off a terminal it shows nothing until the step is done.
type bar struct {
	ui    UI
	step  string
	start time.Time
	total int
	n     atomic.Int64 // of total, done
	bar   *progressbar.ProgressBar
	end   func() // called before the bar goes away; may be nil
}

func (u UI) bar(step string, total int) *bar {
	b := &bar{ui: u, step: step, start: time.Now(), total: total}
	if u.Terminal && u.Out != nil && total > 0 {
		b.bar = progressbar.NewOptions(total,
			progressbar.OptionSetWriter(u.Out),
			progressbar.OptionSetDescription(fmt.Sprintf("%-8s", step)),
			progressbar.OptionShowCount(), progressbar.OptionShowIts(),
			progressbar.OptionSetPredictTime(true), progressbar.OptionClearOnFinish(),
			progressbar.OptionThrottle(100*time.Millisecond))
	}
	return b
}

// tick may be called from several goroutines.
func (b *bar) tick(n int) {
	b.n.Add(int64(n))
	if b.bar != nil {
		_ = b.bar.Add(n)
	}
}

// say says a line above the bar.
func (b *bar) say(format string, args ...any) {
	if b.bar != nil {
		_ = b.bar.Clear()
	}
	b.ui.say(format, args...)
	if b.bar != nil {
		_ = b.bar.RenderBlank()
	}
}

func (b *bar) ended() {
	if b.end != nil {
		b.end()
	}
}

// clear takes the bar away.
func (b *bar) clear() {
	b.ended()
	if b.bar != nil {
		_ = b.bar.Clear()
	}
}

// done takes the bar away and says what came of the step.
func (b *bar) done(a stillhouse.Account) {
	b.ended()
	if b.bar != nil {
		_ = b.bar.Finish()
	}
	took := time.Since(b.start).Seconds()
	if b.ui.Log != nil {
		b.ui.Log.Info("step", "step", b.step, "account", a.Plus(stillhouse.Account{}), "seconds", took)
		return
	}
	b.ui.say("%-8s %d rows in, %d kept%s  (%.1fs)", b.step, a.In, a.Kept, lost(a), took)
}
