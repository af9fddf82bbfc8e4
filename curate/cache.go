package curate

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash"
	"math"
	"slices"

	"stillhouse"
	"stillhouse/curate/reward"
)

// A CacheKey stands for all that a score depends on: the kind of reward, its version and options, and the candidate.
type CacheKey = [sha256.Size]byte

// A Cache keeps what rewards said, from one process to the next. Several goroutines may use it at once.
type Cache interface {
	// Scores looks up what is kept under the keys. What is not there is not in the map.
	Scores(ctx context.Context, keys []CacheKey) (map[CacheKey]stillhouse.Score, error)
	// KeepScore keeps a score of a kind of reward, durably, unless there is one under the key. It returns the one that is
	// kept then.
	KeepScore(ctx context.Context, key CacheKey, kind string, s stillhouse.Score) (stillhouse.Score, error)
}

// costly says whether the scores of a reward are kept where its entry doesn't say.
func costly(r reward.Reward) bool {
	if c, ok := r.(reward.Costly); ok {
		return c.Costly()
	}
	_, waits := r.(reward.Concurrent)
	return waits
}

// A span is candidates that a reward is asked about together: one, or all of a prompt for a [reward.Group].
type span struct {
	from, to int
	keys     [][]CacheKey // of its candidates, for each way in which the reward can ask, where their scores are kept
}

// spans are what a reward is asked about, in order.
func (s scorer) spans(candidates []stillhouse.Candidate) (out []span) {
	_, together := s.Reward.(reward.Group)
	for from := 0; from < len(candidates); {
		to := from + 1
		if together {
			to = sameID(candidates, from)
		}
		out = append(out, span{from: from, to: to})
		from = to
	}
	return out
}

// recall fills in the scores that are in the cache, and returns the spans that are not. Of spans that are alike the first
// alone is asked about: twins maps the place of each other one to that of the first.
func (s scorer) recall(ctx context.Context, candidates []stillhouse.Candidate, scores [][]stillhouse.Score, j int, all []span) (left []span, twins map[int]int, err error) {
	var keys []CacheKey
	for i := range all {
		all[i].keys = s.keys(candidates[all[i].from:all[i].to], scores[all[i].from][:j])
		keys = append(keys, slices.Concat(all[i].keys...)...)
	}
	known, err := s.cache.Scores(ctx, keys)
	if err != nil {
		return nil, nil, err
	}
	first := map[CacheKey]int{}
	twins = map[int]int{}
	kept := func(key CacheKey) bool { _, ok := known[key]; return ok }
	for _, sp := range all {
		way, whole := 0, false
		for w, keys := range sp.keys {
			if !slices.ContainsFunc(keys, func(key CacheKey) bool { return !kept(key) }) {
				way, whole = w, true
				break
			}
		}
		for i, key := range sp.keys[way] {
			score, ok := known[key]
			if !ok {
				score = stillhouse.Score{Verdict: stillhouse.Errored, Evidence: "it was not asked"}
			}
			s.check(&score)
			scores[sp.from+i][j] = score
		}
		if whole {
			continue
		}
		if from, ok := first[sp.keys[0][0]]; ok {
			for i := range sp.to - sp.from {
				twins[sp.from+i] = from + i
			}
			continue
		}
		first[sp.keys[0][0]] = sp.from
		left = append(left, sp)
	}
	return left, twins, nil
}

// keep puts the scores of a span into the cache, and takes those that others have put there meanwhile in their place. What
// came of the time or of a fault is not kept: asked again, the reward may know.
func (s scorer) keep(ctx context.Context, sp span, got []stillhouse.Score) error {
	for i := range got {
		if v := got[i].Verdict; v == stillhouse.Timeout || v == stillhouse.Errored {
			return nil // of a prompt's candidates none, since they were judged together
		}
	}
	way := 0
	if d, ok := s.Reward.(reward.Deciding); ok && len(sp.keys) > 1 {
		if way = d.Way(); way < 0 {
			return nil // it asked nobody
		}
	}
	for i := range got {
		kept, err := s.cache.KeepScore(ctx, sp.keys[way][i], s.kind, got[i])
		if err != nil {
			return err
		}
		s.check(&kept)
		got[i] = kept
	}
	return nil
}

// keys are the keys of candidates that are judged together, one or all of a prompt, for each way in which the reward can ask.
func (s scorer) keys(candidates []stillhouse.Candidate, before []stillhouse.Score) (ways [][]CacheKey) {
	for _, identity := range s.identities {
		ways = append(ways, s.keysOf(identity, candidates, before))
	}
	return ways
}

func (s scorer) keysOf(identity string, candidates []stillhouse.Candidate, before []stillhouse.Score) []CacheKey {
	d := digest{sha256.New()}
	d.text(identity)
	if _, ok := s.Reward.(reward.Follower); ok {
		d.number(uint64(len(before)))
		for _, b := range before {
			d.text(b.Name)
			d.number(math.Float64bits(b.Score))
			d.text(b.Verdict)
			d.text(b.Evidence)
		}
	}
	_, together := s.Reward.(reward.Group)
	for _, c := range candidates {
		if together {
			d.number(uint64(c.Sample))
		}
		d.candidate(c)
	}
	all := CacheKey(d.Sum(nil))
	if !together {
		return []CacheKey{all}
	}
	keys := make([]CacheKey, len(candidates))
	for i := range keys {
		keys[i] = sha256.Sum256(binary.LittleEndian.AppendUint64(all[:], uint64(i)))
	}
	return keys
}

// identity is what of a reward its scores depend on.
func identity(kind string, r reward.Reward, o reward.Options) (string, error) {
	said, err := json.Marshal(o)
	if err != nil {
		return "", fmt.Errorf("options of reward %s: %w", kind, err)
	}
	text, err := json.Marshal([]string{"1", kind, r.Version(), string(said)})
	return string(text), err
}

// A digest takes in values so that no two lists of them are the same bytes.
type digest struct{ hash.Hash }

func (d digest) number(v uint64) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], v)
	_, _ = d.Write(b[:])
}

func (d digest) text(s string) {
	d.number(uint64(len(s)))
	_, _ = d.Write([]byte(s))
}

func (d digest) optional(s *string) {
	if s == nil {
		d.number(math.MaxUint64)
		return
	}
	d.text(*s)
}

func (d digest) messages(ms []stillhouse.Message) {
	d.number(uint64(len(ms)))
	for _, m := range ms {
		d.text(m.Role)
		d.text(m.Content)
	}
}

// candidate takes in all that a reward may read: not where a row is from, nor which of the answers to a prompt it is, nor
// what the endpoint says of itself.
func (d digest) candidate(c stillhouse.Candidate) {
	d.text(c.ID)
	d.messages(c.Prompt.Prompt)
	d.messages(c.Completion)
	for _, s := range []*string{c.Messages, c.Tools, c.Reference, c.Meta, c.System, c.Reasoning, c.ToolCalls, c.Refusal} {
		d.optional(s)
	}
	d.text(c.FinishReason)
	d.text(c.Model)
	d.number(uint64(c.PromptTokens))
	d.number(uint64(c.CompletionTokens))
	if c.ReasoningTokens != nil {
		d.number(uint64(*c.ReasoningTokens))
	}
	d.number(uint64(len(c.LogProbs)))
	for _, t := range c.LogProbs {
		d.text(t.Token)
		d.number(math.Float64bits(t.LogProb))
		d.number(uint64(len(t.Top)))
		for _, a := range t.Top {
			d.text(a.Token)
			d.number(math.Float64bits(a.LogProb))
		}
	}
}
