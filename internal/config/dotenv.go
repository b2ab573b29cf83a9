package config

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"regexp"

	"github.com/joho/godotenv"
)

// byteOrderMark begins the files of some editors.
var byteOrderMark = []byte("\ufeff")

// blankLine is a line whose value is blanks. godotenv would read it like one without a value, which means the default.
var blankLine = regexp.MustCompile(`(?m)^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*[=:][ \t]+\r?$`)

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// ReadDotenv reads the variables of the file .env in the working directory. Without that file there are none. An error
// never quotes the file, which may hold a password.
func ReadDotenv() (map[string]string, error) {
	text, err := os.ReadFile(".env")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	text = bytes.TrimPrefix(text, byteOrderMark)
	variables, err := godotenv.UnmarshalBytes(text)
	for name := range variables {
		if !variableName.MatchString(name) {
			err = errNotAllowed
		}
	}
	if err != nil {
		return nil, errors.New(".env is malformed: allowed are lines of NAME=value and # comments")
	}
	for _, line := range blankLine.FindAllSubmatch(text, -1) {
		if name := string(line[1]); variables[name] == "" {
			variables[name] = " " // for Load to refuse
		}
	}
	return variables, nil
}
