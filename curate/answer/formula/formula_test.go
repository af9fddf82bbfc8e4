package formula

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

func relate(t testing.TB, reference, given string) Relation {
	a, err := Parse(reference)
	require.NoError(t, err, reference)
	b, err := Parse(given)
	require.NoError(t, err, given)
	return Compare(context.Background(), a, b)
}

func TestElementary(t *testing.T) {
	for _, c := range [][2]string{
		{`\exp(\ln 3)`, "3"}, {`\sin\frac{\pi}{6}`, `\frac12`}, {`\cos 36^\circ`, `\frac{1+\sqrt5}{4}`}, {`\arctan 1`, `\frac{\pi}{4}`},
		{`\tan\frac{\pi}{8}`, `\sqrt2-1`}, {`4\arctan\frac15-\arctan\frac{1}{239}`, `\frac{\pi}{4}`}, {`e^{i\pi}`, "-1"}, {`\log_2 1024`, "10"},
		{`\sqrt[3]{-8}`, "-2"}, {`\sqrt{-4}`, "2i"}, {`(1+i)^8`, "16"}, {`\arcsin\frac{\sqrt3}{2}`, `\frac{\pi}{3}`}, {`\sinh(\ln 2)`, `\frac34`},
		{`\sqrt[3]{2+\sqrt5}+\sqrt[3]{2-\sqrt5}`, "1"}, {`\ln 1000000`, `6\ln 10`}, {`\sin 900000`, `\sin(900000-2\pi)`},
	} {
		require.Equal(t, Same, relate(t, c[0], c[1]), "%v", c)
	}
}
