package pipelines

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"stillhouse/curate/candidates"
	"stillhouse/curate/reward"
	"stillhouse/distill/grow"
	"stillhouse/distill/prompts"
	"stillhouse/filter"
	"stillhouse/internal/options"
	"stillhouse/internal/testkit"
	"stillhouse/train"
)

const configPage = "../docs/config.md"

// TestConfigPage holds docs/config.md against the option structs.
func TestConfigPage(t *testing.T) {
	testkit.Golden(t, configPage, configDoc())
}

func configDoc() string {
	var c Config
	c.Train, c.Eval = &train.Options{PEFT: &train.PEFT{}}, &EvalOptions{}
	c.Prompts.FewShot, c.Eval.FewShot, c.Prompts.Grow = &prompts.FewShot{}, &prompts.FewShot{}, &grow.Options{}
	c.EnsureDefaults()
	c.Candidates = &candidates.Options{}
	c.Candidates.EnsureDefaults()
	entry := reward.Entry{}
	entry.EnsureDefaults()
	var b strings.Builder
	b.WriteString("# The config file\n\nA run is one YAML file. Every key is here, written from the option structs by `go test ./pipelines -run TestConfigPage -update`.\n" +
		"A key that is not here is an error that names the line and the nearest right key. Relative paths count from the folder that the program is started in.\n\n")
	b.WriteString(options.Table(options.Describe(&c)))
	b.WriteString("\n## Rewards\n\nEntries of `curate.rewards`: a bare name, or `{name: {options}}`. Every reward takes these options beside its own:\n\n")
	b.WriteString(options.Table(options.Describe(&entry.Shared)))
	kindTables(&b, reward.Kinds())
	b.WriteString("\n## Filter rules\n\nEntries of `filter`: a bare name, or `{name: {options}}`.\n")
	kindTables(&b, filter.Kinds())
	return b.String()
}

func kindTables(b *strings.Builder, kinds map[string]any) {
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		kinds[name].(options.Struct).EnsureDefaults()
		entries := options.Describe(kinds[name])
		if len(entries) == 0 {
			fmt.Fprintf(b, "\n`%s` has no options.\n", name)
			continue
		}
		fmt.Fprintf(b, "\n`%s`:\n\n%s", name, options.Table(entries))
	}
}
