package problems

import (
	"fmt"
	"strings"
)

// A person of a problem and the words that stand for them.
type person struct{ name, subject, object string }

func he(name string) person  { return person{name, "he", "him"} }
func she(name string) person { return person{name, "she", "her"} }

var people = []person{
	he("Tom"), he("Ben"), he("Sam"), he("Max"), he("Leo"),
	she("Anna"), she("Mia"), she("Eva"), she("Ida"), she("Zoe"),
}

var things = []string{"apples", "pens", "books", "coins", "eggs", "cards", "stamps", "shells", "beads", "plums"}

// The sentences. NAME is the person of the problem, He and him what stands for them, OTHER another person, THINGS what
// is counted, N a number.
var (
	openings = []string{"NAME has N THINGS.", "NAME starts with N THINGS."}
	ofStep   = map[Op][]string{
		Plus:  {"He buys N more.", "He finds N more.", "He gets N from OTHER.", "OTHER gives him N more."},
		Minus: {"He sells N.", "He loses N.", "He gives N to OTHER.", "OTHER takes N."},
		Times: {"Then he has N times as many."},
	}
	questions = []string{"How many THINGS does he have?", "How many THINGS does he have now?"}
)

// A telling is who and what a problem is about.
type telling struct {
	who, other person
	things     string
}

// say fills a sentence in. The number is written as it is; a sentence without one ignores it.
func (t telling) say(sentence string, n int) string {
	words := strings.Split(sentence, " ")
	for i, w := range words {
		stem := strings.TrimRight(w, ".?")
		end := w[len(stem):]
		switch stem {
		case "NAME":
			stem = t.who.name
		case "OTHER":
			stem = t.other.name
		case "THINGS":
			stem = t.things
		case "N":
			stem = fmt.Sprint(n)
		case "he":
			stem = t.who.subject
		case "He":
			stem = strings.ToUpper(t.who.subject[:1]) + t.who.subject[1:]
		case "him":
			stem = t.who.object
		}
		words[i] = stem + end
	}
	return strings.Join(words, " ")
}

// everySentence is each sentence told of each person, other person and thing: all the words there are, in a fixed
// order.
func everySentence() (out []string) {
	sentences := append([]string(nil), openings...)
	for _, op := range []Op{Plus, Minus, Times} {
		sentences = append(sentences, ofStep[op]...)
	}
	sentences = append(sentences, questions...)
	for _, s := range sentences {
		for i, who := range people {
			for j, thing := range things {
				t := telling{who: who, other: people[(i+1+j)%len(people)], things: thing}
				out = append(out, t.say(s, 0))
			}
		}
	}
	return out
}
