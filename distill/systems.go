package distill

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"

	"stillhouse"
	"stillhouse/internal/conversation"
	"stillhouse/internal/options"
)

// What system_by may be.
const (
	SystemByPrompt = "prompt"
	SystemBySample = "sample"
)

func (o *Options) validateSystems() error {
	if len(o.Systems) > 0 && o.System != "" {
		return options.Wrongf("systems", "cannot stand beside distill.system: put that text among them, or take it out")
	}
	seen := make(map[string]int, len(o.Systems))
	for i, text := range o.Systems {
		if first, twice := seen[text]; twice {
			return options.Wrongf(fmt.Sprintf("systems[%d]", i), "is the text of systems[%d] too: each must be another", first)
		}
		seen[text] = i
	}
	if o.SystemBy != "" && o.SystemBy != SystemByPrompt && o.SystemBy != SystemBySample {
		return options.Wrongf("system_by", "is %q: it must be %s or %s", o.SystemBy, SystemByPrompt, SystemBySample)
	}
	return nil
}

// systemsFor are the system prompts that the samples of a prompt are asked with: one text, which is "" where the prompt
// brings its own or the run has none, or all of distill.systems where each sample takes the next.
func (o *Options) systemsFor(p stillhouse.Prompt) []string {
	switch {
	case conversation.HasSystem(p.Prompt):
		return []string{""}
	case len(o.Systems) == 0:
		return []string{o.System}
	case o.SystemBy == SystemBySample:
		return o.Systems
	}
	return []string{o.Systems[drawSystem(*o.Seed, p, len(o.Systems))]}
}

// variantOf says which of n system prompts a sample is asked with. The samples of a prompt take them by turns, so that
// all are asked as often, and begin at a place that the seed and the prompt's messages draw: which one a sample has does
// not depend on how many samples there are, nor on the row's id.
func (o *Options) variantOf(p stillhouse.Prompt, n int) func(sample int) int {
	if n == 1 {
		return func(int) int { return 0 }
	}
	start := drawSystem(*o.Seed, p, n)
	return func(sample int) int { return (start + sample) % n }
}

func drawSystem(seed int64, p stillhouse.Prompt, n int) int {
	h := sha256.New()
	h.Write([]byte("system"))
	_ = binary.Write(h, binary.LittleEndian, seed)
	_ = json.NewEncoder(h).Encode(p.Identity())
	return int(binary.LittleEndian.Uint64(h.Sum(nil)) % uint64(n))
}

// messagesWith are the messages that are sent: the prompt's, in full where they have more than role and content, with a
// system prompt before them where there is one.
func messagesWith(system string, p stillhouse.Prompt) (any, error) {
	if p.Messages == nil {
		return conversation.WithSystem(system, p.Prompt), nil
	}
	full, err := conversation.FullWithSystem(system, *p.Messages)
	return json.RawMessage(full), err
}
