package distill

import (
	"context"
	"time"
)

// A clock tells the time and waits, so that tests of hours of waiting take none.
type clock interface {
	Now() time.Time
	// Sleep waits for d, or until the context is done and then returns its error.
	Sleep(ctx context.Context, d time.Duration) error
	// AfterFunc calls do on a goroutine of its own when d has passed, unless it is stopped before.
	AfterFunc(d time.Duration, do func()) (stop func())
}

type wallClock struct{}

func (wallClock) Now() time.Time { return time.Now() }

func (wallClock) Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (wallClock) AfterFunc(d time.Duration, do func()) (stop func()) {
	t := time.AfterFunc(d, do)
	return func() { t.Stop() }
}
