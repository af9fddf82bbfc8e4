// Package pipelines puts the stages together: distil, curate, filter and train in one run, training alone, asking and
// serving, export. A pipeline is described by one YAML file.
package pipelines

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"stillhouse"
	"stillhouse/curate"
	"stillhouse/curate/candidates"
	"stillhouse/distill"
	"stillhouse/filter"
	"stillhouse/internal/options"
	"stillhouse/train"
)

// Config is a run's config file.
type Config struct {
	Name    string             `yaml:"name" doc:"The run's name: it lies in runs/NAME. By default the config file's name."`
	Prompts PromptsOptions     `yaml:"prompts" doc:"Where the prompts come from."`
	Distill distill.Options    `yaml:"distill" doc:"The teacher, and how it is asked."`
	Curate  curate.Config      `yaml:"curate" doc:"How candidates are scored, and which are kept."`
	Filter  []filter.RuleEntry `yaml:"filter,omitempty" doc:"The rules that kept samples pass, in order."`
	Train   *train.Options     `yaml:"train,omitempty" doc:"The student, and how it is trained. Without it a run ends with the kept rows."`
	Eval    *EvalOptions       `yaml:"eval,omitempty" doc:"Held-out problems that the students are asked after training."`

	Candidates *candidates.Options `yaml:"candidates,omitempty" doc:"Candidates that are there already, in the place of prompts and distill: nobody is asked, and no key is needed."`

	Notes []string `yaml:"-"` // what Check found out that people may want to know: what candidates were read, and what they lack

	read recording // of the prompts, by Check
}

// TrainingConfig is the config file of training alone.
type TrainingConfig struct {
	Name  string        `yaml:"name" doc:"The run's name: the student lies in runs/NAME/student. By default the config file's name."`
	Train train.Options `yaml:"train" doc:"The student, its rows, and how it is trained."`
}

// Load reads a run's config, fills in every default and checks what can be checked without opening another file. Its
// errors are the user's to mend and name file, line and key.
func Load(path string) (*Config, error) {
	c := &Config{}
	return c, load(path, c, func() error {
		c.Name = nameOr(c.Name, path)
		c.EnsureDefaults()
		return c.Validate()
	})
}

// LoadTraining reads the config of training alone.
func LoadTraining(path string) (*TrainingConfig, error) {
	c := &TrainingConfig{}
	return c, load(path, c, func() error {
		c.Name = nameOr(c.Name, path)
		c.Train.EnsureDefaults()
		if err := checkName(c.Name); err != nil {
			return err
		}
		if err := options.Under("train", c.Train.Validate()); err != nil {
			return err
		}
		if c.Train.Data.Path == "" {
			return options.Wrongf("train.data.path", "is missing: say which rows to train on, as data: {path: rows.jsonl}")
		}
		return nil
	})
}

func load(path string, into any, finish func() error) error {
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return stillhouse.Invalidf("%s: there is no such file", path)
	case err != nil:
		return stillhouse.Invalidf("read config: %v", err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return stillhouse.Invalidf("%s: is not YAML: %s", path, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if len(doc.Content) == 0 {
		return stillhouse.Invalidf("%s: is empty: see examples/demo.yaml for a config that runs", path)
	}
	root := doc.Content[0]
	err = options.Decode(root, into)
	if err == nil {
		err = options.At(root, together(root))
	}
	if err == nil {
		err = options.At(root, zeros(root))
	}
	if err == nil {
		err = options.At(root, finish())
	}
	if ps := options.ProblemsOf(err); ps != nil {
		return stillhouse.Invalidf("%s", ps.In(path))
	}
	return err
}

// positive are the keys whose 0, once read, could not be told from a key that is not there.
var positive = []string{"distill.samples", "distill.samples.min", "distill.samples.max", "distill.samples.enough", "distill.concurrency", "curate.select.best", "eval.samples", "eval.max_tokens"}

// zeros is an error when one of the positive keys is written as 0.
func zeros(root *yaml.Node) error {
	for _, path := range positive {
		n := root
		for key := range strings.SplitSeq(path, ".") {
			n = under(n, key)
		}
		var v float64
		if n != nil && n.ShortTag() == "!!int" && n.Decode(&v) == nil && v == 0 {
			return options.Wrongf(path, "is 0: it must be 1 or more")
		}
	}
	return nil
}

// together is an error when candidates stand beside what makes them.
func together(root *yaml.Node) error {
	for _, key := range []string{"prompts", "distill"} {
		if under(root, "candidates") != nil && under(root, key) != nil {
			return options.Wrongf(key, "cannot be beside candidates, which are there already and stand in the place of prompts and distill: take one of them out")
		}
	}
	return nil
}

// under is the value of a key, nil when it is not there.
func under(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

func nameOr(name, path string) string {
	if name != "" {
		return name
	}
	return strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
}

var namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

func checkName(name string) error {
	if !namePattern.MatchString(name) {
		return options.Wrongf("name", "is %q, which cannot name a folder: use letters, digits, dots, dashes and underscores", name)
	}
	return nil
}

// EnsureDefaults fills in every default.
func (c *Config) EnsureDefaults() {
	if c.Candidates != nil {
		c.Candidates.EnsureDefaults()
	} else {
		c.Prompts.EnsureDefaults()
		c.Distill.EnsureDefaults()
	}
	c.Curate.EnsureDefaults()
	(&filter.Filter{Rules: c.Filter}).EnsureDefaults()
	if c.Train != nil {
		c.Train.EnsureDefaults()
	}
	if c.Eval != nil {
		c.Eval.EnsureDefaults()
	}
}

// Validate names the first key whose value cannot be.
func (c *Config) Validate() error {
	if err := checkName(c.Name); err != nil {
		return err
	}
	if err := c.validateInput(); err != nil {
		return err
	}
	if err := options.Under("curate", c.Curate.Validate()); err != nil {
		return err
	}
	if err := c.validateSelect(); err != nil {
		return err
	}
	if c.Distill.Samples.Adaptive() && c.Curate.Select.MinReward == nil && c.Curate.Select.Policy != curate.PolicyShortestRight {
		return options.Wrongf("distill.samples.enough", "is %d, and without curate.select.min_reward every answer is accepted: set the least reward that is good enough, or write samples: %d",
			c.Distill.Samples.Enough, c.Distill.Samples.Max)
	}
	for i := range c.Filter {
		if err := options.Under(fmt.Sprintf("filter[%d]", i), c.Filter[i].Validate()); err != nil {
			return err
		}
	}
	if c.Train != nil {
		if err := options.Under("train", c.Train.Validate()); err != nil {
			return err
		}
		if c.Train.Data.Path != "" {
			return options.Wrongf("train.data", "is not for a run, which trains on what it kept: take this key out, or use `stillhouse train`")
		}
	}
	if c.Eval != nil {
		if err := options.Under("eval", c.Eval.Validate()); err != nil {
			return err
		}
		if c.Train == nil {
			return options.Wrongf("eval", "has no student to ask: add train, or take eval out")
		}
	}
	return nil
}

// validateSelect is an error when the selection cannot be made of the candidates there will be, or what comes after it
// cannot take what it makes.
func (c *Config) validateSelect() error {
	if c.Candidates == nil { // of those of a file nobody knows yet how many a prompt has
		adaptive := c.Distill.Samples.Adaptive() || c.Distill.Target.Accepted > 0
		if err := options.Under("curate.select", c.Curate.Select.KeepsAny(c.Distill.Samples.Max, adaptive)); err != nil {
			return err
		}
	}
	if c.Curate.Select.Policy != curate.PolicyPairs {
		return nil
	}
	for _, block := range []struct {
		key   string
		there bool
	}{{"train", c.Train != nil}, {"filter", len(c.Filter) > 0}} {
		if block.there {
			return options.Wrongf(block.key, "takes rows of prompt and completion, and curate.select.policy pairs makes preference pairs, which are for `stillhouse export`: take %s out, or choose another policy", block.key)
		}
	}
	return nil
}

// Resolved is the config with every default filled in, as YAML: what a run keeps and compares on resume.
func (c *Config) Resolved() ([]byte, error) {
	if c.Candidates == nil {
		return yaml.Marshal(c)
	}
	var doc yaml.Node
	if err := doc.Encode(c); err != nil {
		return nil, err
	}
	for i := 0; i+1 < len(doc.Content); {
		if key := doc.Content[i].Value; key == "prompts" || key == "distill" { // there are none
			doc.Content = slices.Delete(doc.Content, i, i+2)
		} else {
			i += 2
		}
	}
	return yaml.Marshal(&doc)
}
