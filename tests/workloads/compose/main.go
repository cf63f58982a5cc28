// Loads a compose file as docker compose does, and prints what it comes to.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
)

func main() {
	options, err := cli.NewProjectOptions(os.Args[1:], cli.WithOsEnv, cli.WithInterpolation(true), cli.WithResolvedPaths(true))
	if err == nil {
		var text []byte
		project, failed := options.LoadProject(context.Background())
		if err = failed; err == nil {
			if text, err = project.MarshalJSON(); err == nil {
				fmt.Print(string(text))
				return
			}
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
