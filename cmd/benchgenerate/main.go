package main

import (
	"context"
	"flag"
	"log"
	"os"

	"stillhouse/internal/student"
)

func main() {
	dir := flag.String("model", "", "")
	w := flag.String("weights", "f32", "")
	n := flag.Int("new", 100, "")
	flag.Parse()
	if err := measureOurs(context.Background(), *dir, student.Weights(*w), *n, os.Stdout); err != nil {
		log.Fatal(err)
	}
}
