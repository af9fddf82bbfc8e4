package train

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/schollz/progressbar/v3"
)

// A UI is where a training tells people what it does. The zero value tells nobody.
type UI struct {
	Out      io.Writer        // text for people, stderr as a rule
	Terminal bool             // Out is a terminal: bars and colours are fine
	Color    bool             // colours are welcome, which NO_COLOR may deny a terminal
	Width    int              // of Out in columns, by default 120
	Now      func() time.Time // the clock, by default the machine's
	Log      *slog.Logger     // takes the lines of the log in fields; nil where Out says them in words

	Checkpoint <-chan os.Signal // asks for a checkpoint of a training now; may be nil
}

func (ui *UI) ensureDefaults() {
	if ui.Out == nil {
		ui.Out = io.Discard
	}
	if ui.Width <= 0 {
		ui.Width = 120
	}
	if ui.Now == nil {
		ui.Now = time.Now
	}
}

// forecast is the hook that says what a training will take, nil when nobody would read it.
func (ui UI) forecast() func(Forecast) {
	if ui.Out == io.Discard {
		return nil
	}
	return func(f Forecast) { ui.say("%s", f) }
}

func (ui UI) say(format string, args ...any) { fmt.Fprintf(ui.Out, format+"\n", args...) }

// table prints a table whose cells are wrapped so that it fits the width.
func (ui UI) table(title string, header []string, rows [][]string, narrow int) {
	t := table.NewWriter()
	t.SetOutputMirror(ui.Out)
	t.SetTitle(title)
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault
	t.Style().Options.SeparateRows = true
	wide := max(16, (ui.Width-3*len(header)-1-narrow)/max(1, len(header)-btoi(narrow > 0)))
	var head table.Row
	var configs []table.ColumnConfig
	for i, h := range header {
		head = append(head, h)
		width := wide
		if i == 0 && narrow > 0 {
			width = narrow
		}
		configs = append(configs, table.ColumnConfig{Number: i + 1, WidthMax: width, WidthMaxEnforcer: wrap})
	}
	t.AppendHeader(head)
	t.SetColumnConfigs(configs)
	for _, r := range rows {
		var cells table.Row
		for _, c := range r {
			cells = append(cells, printable(c))
		}
		t.AppendRow(cells)
	}
	t.Render()
}

// wrap breaks text between words, and keeps the breaks that it has.
func wrap(s string, width int) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = text.WrapSoft(l, width)
	}
	return strings.Join(lines, "\n")
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// printable is text without what could move a terminal's cursor or change its colours.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case r == '\n' || !unicode.IsControl(r):
			return r
		}
		return unicode.ReplacementChar
	}, s)
}

// download says which file arrives: as its bytes come on a terminal, else once.
func (ui UI) download() func(file string, done, total int64) {
	var at string
	return func(file string, done, total int64) {
		size := ""
		if total >= 0 {
			size = fmt.Sprintf(" of %.1f MB", float64(total)/1e6)
		}
		switch {
		case ui.Terminal:
			end := "\r"
			if done == total {
				end = "\n"
			}
			fmt.Fprintf(ui.Out, "%s: %.1f MB%s %s", printable(file), float64(done)/1e6, size, end)
		case at != file:
			ui.say("downloading %s%s", printable(file), strings.Replace(size, " of", ",", 1))
		}
		at = file
	}
}

// A meter shows how far a training is: a bar on a terminal, and every line of the log.
type meter struct {
	ui    UI
	bar   *progressbar.ProgressBar
	ended bool // with the last update
}

func (m *meter) plan(p Plan) {
	m.ui.say("training: %d rows, %d updates, %d micro-batches an epoch", p.Rows, p.Updates, p.BatchesPerEpoch)
	if m.ui.Terminal {
		m.bar = progressbar.NewOptions(p.Updates, progressbar.OptionSetWriter(m.ui.Out), progressbar.OptionShowCount(),
			progressbar.OptionSetWidth(30), progressbar.OptionSetPredictTime(true), progressbar.OptionClearOnFinish(),
			progressbar.OptionSetDescription("updates"))
	}
}

func (m *meter) step(l Line) {
	m.ended = l.Step == l.Steps
	if m.bar != nil {
		_ = m.bar.Set(l.Step) // a bar that cannot be drawn is no reason to stop
	}
}

func (m *meter) line(l fmt.Stringer) {
	if m.ui.Log != nil {
		m.ui.Log.Info("log", "step", "train", "line", l)
		return
	}
	m.say(l.String())
}

// say prints a line above the bar.
func (m *meter) say(text string) {
	if m.bar != nil {
		_ = m.bar.Clear()
	}
	m.ui.say("%s", text)
	if m.bar != nil && !m.ended {
		_ = m.bar.RenderBlank()
	}
}

func (m *meter) close() {
	if m.bar != nil {
		_ = m.bar.Clear()
	}
}
