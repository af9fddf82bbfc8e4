package answer_test

import (
	"fmt"

	"stillhouse/curate/answer"
)

func ExampleCompare() {
	reference, _ := answer.Reference("1,234")
	for _, text := range []string{"9+8=17, so it is \\boxed{1234}.", "#### 1243", "I don't know."} {
		given, err := answer.Final(text)
		if err != nil {
			fmt.Println(err)
			continue
		}
		relation, _ := answer.Compare(reference, given)
		fmt.Println(given, "from", given.From, "is the same:", relation == answer.Same)
	}
	// Output:
	// 1234 from \boxed{1234} is the same: true
	// 1243 from #### 1243 is the same: false
	// no number could be read in "I don't know.": not a number
}
