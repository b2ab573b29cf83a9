package config

import (
	"fmt"
	"os"
	"testing"

	"github.com/image-streamer/image-streamer/internal/testkit"
)

// The file is optional. A malformed one gives an error that quotes nothing of it.
func TestReadDotenv(t *testing.T) {
	t.Chdir(t.TempDir())
	if got := testkit.Must(ReadDotenv())(t); got != nil {
		t.Errorf("without a file: got %v", got)
	}
	for _, row := range []struct{ file, want string }{
		{"# comment\nexport PORT=1\nEXPIRE = 'two'\n", "map[EXPIRE:two PORT:1]"},
		{"\ufeffPORT=1\r\nEXPIRE=2\r\n", "map[EXPIRE:2 PORT:1]"},
		{"\ufeff# comment\nPORT=1\n", "map[PORT:1]"},
		{"\ufeff", "map[]"},
		{"EXPIRE=\nPORT=1\n", "map[EXPIRE: PORT:1]"},
		{"PORT=1\nOPERATOR_TOKEN=\t \r\nexport SESSION_SECRET = ", "map[OPERATOR_TOKEN:  PORT:1 SESSION_SECRET: ]"},
		{"SESSION_SECRET= \nSESSION_SECRET=given", "map[SESSION_SECRET:given]"},
		{"PORT=1\n\ufeffEXPIRE=2\n", ""},
		{"PORT\nREDIS_HOST=redis://:hunter2@h", ""},
		{"EXPIRE=1\nPORT", ""},
		{"REDIS_HOST redis://:hunter2=@h\n", ""},
		{"REDIS_HOST='redis://:hunter2@h\n", ""},
	} {
		if err := os.WriteFile(".env", []byte(row.file), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := ReadDotenv()
		if row.want != "" && (err != nil || fmt.Sprint(got) != row.want) {
			t.Errorf("%q: got %v, error %v, want %s", row.file, got, err, row.want)
		}
		if row.want == "" && fmt.Sprint(err) != ".env is malformed: allowed are lines of NAME=value and # comments" {
			t.Errorf("%q: got %v, error %v", row.file, got, err)
		}
	}
}
