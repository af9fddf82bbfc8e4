package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math"
	"os"
	"path/filepath"
	"time"

	"stillhouse/internal/machine"
)

// An Object is the last line of a benchmark: figures by name.
type Object map[string]any

// Set puts a figure in, rounded to so many digits behind the point. What is no number was not measured, and stays out.
func (o Object) Set(key string, v float64, digits int) {
	if !math.IsNaN(v) {
		scale := math.Pow10(digits)
		o[key] = math.Round(v*scale) / scale
	}
}

// Machine is the sentence of a page that says what it was measured on.
func Machine(d machine.Description, threads int) string {
	return fmt.Sprintf("%s, %d cores, %s, products by %s, %d MiB of memory; %d threads; bare fp32 product %.0f GFLOP/s.", d.CPU, d.Cores, d.Instructions, d.Products, d.MemoryMiB, threads, d.GEMM)
}

// Publish writes the page DATE-NAME.md into a folder, with the object at its end, and the object to out as one line.
func Publish(dir, name string, began time.Time, o Object, page string, out io.Writer) error {
	line, err := json.Marshal(o)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	file := filepath.Join(dir, began.Format(time.DateOnly)+"-"+name+".md")
	page += fmt.Sprintf("\nThe last line:\n\n```json\n%s\n```\n", line)
	if err := os.WriteFile(file, []byte(page), 0o644); err != nil {
		return err
	}
	log.Print("the page is ", file)
	_, err = fmt.Fprintln(out, string(line))
	return err
}
