package train

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestOrder(t *testing.T) {
	var golden struct {
		Randperm []struct {
			Seed        int64
			N           int
			Perm        []int
			First, Last []int
			SHA         string `json:"sha256_of_comma_joined"`
		}
		Epochs []struct {
			N     int
			Seed  int64
			Epoch int
			Order []int
		}
	}
	read(t, "order/order.json", &golden)
	if len(golden.Randperm) < 20 || len(golden.Epochs) < 3 {
		t.Fatalf("the goldens are not whole: %d permutations, %d epochs", len(golden.Randperm), len(golden.Epochs))
	}
	for _, g := range golden.Randperm {
		got := Order(g.N, g.Seed, 0)
		switch {
		case g.Perm != nil && !slices.Equal(got, g.Perm):
			t.Errorf("seed %d, n %d: %v, not %v", g.Seed, g.N, got, g.Perm)
		case g.Perm == nil && digest(got) != g.SHA:
			t.Errorf("seed %d, n %d: starts with %v, not %v", g.Seed, g.N, got[:16], g.First)
		}
	}
	for _, g := range golden.Epochs {
		if got := Order(g.N, g.Seed, g.Epoch); !slices.Equal(got, g.Order) {
			t.Errorf("seed %d, n %d, epoch %d: %v, not %v", g.Seed, g.N, g.Epoch, got, g.Order)
		}
	}
	if got := Order(0, 42, 0); len(got) != 0 {
		t.Errorf("no rows are visited in the order %v", got)
	}
}

func digest(perm []int) string {
	text := make([]string, len(perm))
	for i, p := range perm {
		text[i] = strconv.Itoa(p)
	}
	sum := sha256.Sum256([]byte(strings.Join(text, ",")))
	return hex.EncodeToString(sum[:])
}

// golden is the folder of the goldens of the trainer.
const golden = "../testdata/parity/train/"

func read(t *testing.T, name string, into any) {
	t.Helper()
	data, err := os.ReadFile(golden + name)
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}
