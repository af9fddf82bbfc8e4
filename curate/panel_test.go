package curate

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"stillhouse"
	"stillhouse/curate/reward"
	"stillhouse/internal/testkit"
)

// Through the stage: the rows of a reward that hangs have a timeout, in the words of the stage.
func TestCommandInStage(t *testing.T) {
	testkit.Needs(t, "python3")
	e := reward.Entry{Kind: "command", Options: &reward.Command{Command: []string{"python3", "-I", "-S", "reward/testdata/programs/reward.py"}, Concurrency: 3}}
	e.Timeout = 60
	var cs []stillhouse.Candidate
	for i := range 30 {
		cs = append(cs, candidate("p", i, "7", []string{"exact 7", "exact 8", "garbage", "die"}[i%4], 1))
	}
	p, err := newPanel([]reward.Entry{e})
	require.NoError(t, err)
	scores, err := p.ask(context.Background(), cs)
	require.NoError(t, err)
	for i, row := range scores {
		assert.Equal(t, []string{stillhouse.Right, stillhouse.Wrong, stillhouse.Errored, stillhouse.Errored}[i%4], row[0].Verdict, "%d: %s", i, row[0].Evidence)
	}
	require.NoError(t, p.Close())

	e.Timeout = 0.01
	p, err = newPanel([]reward.Entry{e})
	require.NoError(t, err)
	scores, err = p.ask(context.Background(), []stillhouse.Candidate{candidate("p", 0, "", "hang", 1)})
	require.NoError(t, err)
	assert.Equal(t, stillhouse.Timeout, scores[0][0].Verdict)
	assert.Equal(t, "no verdict after "+(10*time.Millisecond).String(), scores[0][0].Evidence)
	require.NoError(t, p.Close())
}

// Without bubblewrap there is no reward, unless the config says so.
func TestCodeNeedsBubblewrap(t *testing.T) {
	testkit.Needs(t, "python3")
	python, err := exec.LookPath("python3")
	require.NoError(t, err)
	e := reward.Entry{Kind: "code", Options: &reward.Code{Command: []string{python}}}
	t.Setenv("PATH", t.TempDir())
	_, err = newPanel([]reward.Entry{e})
	require.ErrorContains(t, err, `reward "code": there is no bwrap`)
	assert.ErrorContains(t, err, "install bubblewrap")
	assert.ErrorContains(t, err, "unsandboxed: true")
	assert.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err))

	// A machine that forbids namespaces says so in bwrap's words.
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "bwrap"), []byte("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n"), 0o755))
	t.Setenv("PATH", dir)
	_, err = newPanel([]reward.Entry{e})
	require.ErrorContains(t, err, "No permissions to create new namespace")
	assert.ErrorContains(t, err, "unprivileged_userns_clone")
	assert.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err))

	s := Score{Rewards: []reward.Entry{{Kind: "code", Options: &reward.Code{Unsandboxed: true}}, {Kind: "math"}}}
	s.EnsureDefaults()
	require.Len(t, s.Warnings(), 1)
	assert.Contains(t, s.Warnings()[0], `reward "code": unsandboxed is true`)
}

// K may vary from prompt to prompt, 1 included, and a prompt's candidates may come in any order.
func TestMajorityOfAnyK(t *testing.T) {
	entries := []reward.Entry{{Kind: "majority"}}
	p, err := newPanel(entries)
	require.NoError(t, err)
	scores, err := p.ask(context.Background(), []stillhouse.Candidate{
		candidate("one", 0, "", "#### 5", 3),
		candidate("two", 1, "", "#### 5", 3), candidate("two", 0, "", "#### 6", 3),
		candidate("three", 0, "", "#### 1", 3), candidate("three", 1, "", "#### 2", 3), candidate("three", 2, "", "2.0", 3),
	})
	require.NoError(t, err)
	var got []string
	for _, s := range scores {
		got = append(got, s[0].Verdict)
	}
	require.Equal(t, []string{"right", "wrong", "right", "wrong", "right", "right"}, got)
}

// What judges the candidates of a prompt together can't judge while they are still asked for.
func TestAcceptorRefusesGroups(t *testing.T) {
	_, err := (&Config{Rewards: []reward.Entry{{Kind: "majority"}}}).Acceptor(nil)
	require.ErrorContains(t, err, `reward "majority" judges the candidates of a prompt together`)
	require.Equal(t, stillhouse.Invalid, stillhouse.KindOf(err))
}

// An expression names rewards that stand before it.
func TestExprStandsAfterItsRewards(t *testing.T) {
	var s Score
	require.NoError(t, json.Unmarshal([]byte(`["math", {"expr": {"expression": "reward.math == 1"}}]`), &s.Rewards))
	require.NoError(t, s.Validate())
	s.Rewards[0], s.Rewards[1] = s.Rewards[1], s.Rewards[0]
	assert.ErrorContains(t, s.Validate(), `rewards[0].expr.expression: is "reward.math == 1": there is no reward "math" before it`)
}
