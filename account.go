package stillhouse

import "maps"

// An Account says what became of the rows that went into a stage. It balances when In = Kept + Dropped + Failed + Unasked.
type Account struct {
	In      int64            `json:"in"`
	Kept    int64            `json:"kept"`
	Dropped map[string]int64 `json:"dropped"` // rows by reason
	Failed  map[string]int64 `json:"failed"`  // rows by the kind of their error, or by what a row of files lacks to be a candidate

	// Unasked are rows of output that an [Expander] could have made and did not have to, by reason; nil when there are
	// none. No row stands for them anywhere: In counts what could have been made.
	Unasked map[string]int64 `json:"unasked,omitempty"`

	// Accepted are those of the rows kept that the stage knows to be good enough for the next ones; 0 where it does not.
	Accepted int64 `json:"accepted,omitempty"`
}

// Balanced reports whether every row that went in is accounted for.
func (a Account) Balanced() bool { return a.In == a.Kept+sum(a.Dropped)+sum(a.Failed)+sum(a.Unasked) }

// Then is the account of this stage followed by next, seen as one: next must have taken in what this one kept.
func (a Account) Then(next Account) Account {
	return Account{In: a.In, Kept: next.Kept, Dropped: plus(a.Dropped, next.Dropped), Failed: plus(a.Failed, next.Failed),
		Unasked: unlessEmpty(plus(a.Unasked, next.Unasked)), Accepted: next.Accepted}
}

// Plus adds up two accounts of one stage, such as those of two shards.
func (a Account) Plus(b Account) Account {
	return Account{In: a.In + b.In, Kept: a.Kept + b.Kept, Dropped: plus(a.Dropped, b.Dropped), Failed: plus(a.Failed, b.Failed),
		Unasked: unlessEmpty(plus(a.Unasked, b.Unasked)), Accepted: a.Accepted + b.Accepted}
}

func plus(a, b map[string]int64) map[string]int64 {
	c := make(map[string]int64, len(a)+len(b))
	maps.Copy(c, a)
	for k, n := range b {
		c[k] += n
	}
	return c
}

func unlessEmpty(m map[string]int64) map[string]int64 {
	if len(m) == 0 {
		return nil
	}
	return m
}

func sum(m map[string]int64) (n int64) {
	for _, v := range m {
		n += v
	}
	return n
}
