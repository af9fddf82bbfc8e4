package pipelines

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"stillhouse"
	"stillhouse/curate/reward"
	"stillhouse/distill"
	"stillhouse/internal/rundir"
)

// rewardBooks is the folder where a run keeps what its rewards asked of models and servers, over all its steps and processes:
// a file for each reward, named by it. Like requestsFile it stays when a step is made again.
const rewardBooks = "requests"

const bookSuffix = ".json"

// A rewardBook counts what one reward asks. A stage that asks for it begins at nothing, since its bounds are those of a step:
// what it saves is added to what the file had.
type rewardBook struct {
	path string

	mu     sync.Mutex
	file   *distill.FileBook // nil before the first request
	closed bool
	before distill.Counters
	now    distill.Counters // of a meter
}

var _ distill.Book = (*rewardBook)(nil)

var errBookClosed = errors.New("the step that asked is over")

// Load opens the file.
func (b *rewardBook) Load() (distill.Counters, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return distill.Counters{}, b.open()
}

func (b *rewardBook) open() (err error) {
	switch {
	case b.closed: // for a reward that was left behind when its time was over
		return errBookClosed
	case b.file != nil:
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(b.path), 0o755); err != nil {
		return stillhouse.Invalidf("the account of what rewards ask: %v", err)
	}
	file, err := distill.OpenBook(b.path)
	if err != nil {
		return err
	}
	if b.before, err = file.Load(); err != nil {
		return errors.Join(err, file.Close())
	}
	b.file = file
	return nil
}

// Save writes what was asked since Load.
func (b *rewardBook) Save(c distill.Counters) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.open(); err != nil {
		return err
	}
	return b.file.Save(b.before.Plus(c))
}

// count is the [reward.Meter].
func (b *rewardBook) count(u reward.Usage) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.open(); err != nil {
		return err
	}
	b.now = b.now.Plus(distill.Counters{Requests: u.Requests, Answered: u.Answers, Asked: u.Answers, PromptTokens: u.PromptTokens, CompletionTokens: u.CompletionTokens})
	return b.file.Save(b.before.Plus(b.now))
}

func (b *rewardBook) close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed = true; b.file == nil {
		return nil
	}
	return b.file.Close()
}

// RewardRequests is what a reward asked of a model or a server over all processes of a run.
type RewardRequests struct {
	Reward string `json:"reward"` // its name
	distill.Counters
}

// rewardRequests reads what the rewards of a run asked, in the order of the config; those that are no more in it come last.
func rewardRequests(d *rundir.Dir, c *Config) (out []RewardRequests, err error) {
	entries, err := os.ReadDir(d.Path(rewardBooks))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		name, err := url.PathUnescape(strings.TrimSuffix(e.Name(), bookSuffix))
		if err != nil || !strings.HasSuffix(e.Name(), bookSuffix) {
			continue
		}
		counters, _, err := distill.ReadBook(d.Path(rewardBooks, e.Name()))
		if err != nil {
			return nil, err
		}
		if counters.Requests+counters.FromStore > 0 {
			out = append(out, RewardRequests{name, counters})
		}
	}
	place := func(r RewardRequests) int {
		at := slices.IndexFunc(c.Curate.Rewards, func(e reward.Entry) bool { return e.Name == r.Reward })
		if at < 0 {
			return len(c.Curate.Rewards)
		}
		return at
	}
	slices.SortStableFunc(out, func(a, b RewardRequests) int { return place(a) - place(b) })
	return out, nil
}

func (r RewardRequests) writeText(w io.Writer) {
	fmt.Fprintf(w, "\nReward %s: %d requests brought %d answers", r.Reward, r.Requests, r.Asked)
	if r.FromStore > 0 {
		fmt.Fprintf(w, ", %d were in the response store", r.FromStore)
	}
	fmt.Fprintf(w, ".%s", sentAgain(r.Counters))
	switch {
	case r.PromptTokens+r.CompletionTokens > 0:
		fmt.Fprintf(w, " Paid for: %s.", paidTokens(r.Counters))
	case r.Asked > 0:
		fmt.Fprint(w, " Its server counts no tokens.")
	}
	fmt.Fprintln(w)
}
